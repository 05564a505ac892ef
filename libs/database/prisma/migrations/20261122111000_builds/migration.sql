-- A run may be pinned to the build of the workers that drove it first. The activation that pins it is not over then, and is
-- the only one: the next ones go to that build, which are those after `served` has passed `pinned_after`.
alter table runs add column build_id text, add column pinned_after integer;

-- As runs_waiting_for_worker, lane by lane; that one is for services of the version before.
create index runs_resting on runs (environment_id, app_id,
    (coalesce(case when served > pinned_after then build_id end, '')), (started_at is null), id)
  where status = 'waiting_for_worker';
-- Which builds still have runs, and so may not go yet.
create index runs_pinned on runs (environment_id, app_id, build_id, status)
  where build_id is not null and status in ('queued', 'running', 'waiting', 'waiting_for_worker');

-- What a tenant may change of a pin is this and nothing else. Not while an activation may be under way: nobody could say whether
-- it is, and the run would be driven twice. Answers the status that it run.
create function unpin_run(given_run uuid) returns text
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
as $$
declare
  run record;
begin
  select status, wake, served, build_id into run from public.runs
    where environment_id = public.current_environment() and id = given_run for update;
  if run.build_id is null or not (run.status = 'waiting_for_worker'
      or (run.status = 'waiting' and run.wake <= run.served)) then
    return run.status;
  end if;
  update public.runs set
    build_id = null,
    pinned_after = null,
    status = case status when 'waiting_for_worker' then 'queued' else status end,
    woken_at = case status when 'waiting_for_worker' then date_trunc('milliseconds', now()) else woken_at end
  where environment_id = public.current_environment() and id = given_run;
  return run.status;
end $$;
revoke execute on function unpin_run(uuid) from public;
grant execute on function unpin_run(uuid) to ironflow_tenant, ironflow_service;

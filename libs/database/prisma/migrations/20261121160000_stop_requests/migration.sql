-- A run is asked to stop: the wish is stored with a wake-up, so that an executor finds it whoever drives the run, and the
-- run's own retry does not put it off.
alter table runs add column stop_requested_at timestamptz;

-- What a tenant may change of a run is this and nothing else. What the run waits for need not come any more; its row
-- lock orders this and the journal's entries. A second time it changes nothing.
create policy owner_finds_run on runs for select to ironflow_owner using (environment_id = current_environment());
create policy owner_requests_stop on runs for update to ironflow_owner
  using (environment_id = current_environment()) with check (environment_id = current_environment());
create function request_stop(given_run uuid) returns void
  language sql security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  update public.runs set
    stop_requested_at = date_trunc('milliseconds', now()),
    wake = wake + 1,
    woken_at = date_trunc('milliseconds', now()),
    status = case when status in ('waiting', 'waiting_for_worker') then 'queued' else status end
  where environment_id = public.current_environment() and id = given_run and stop_requested_at is null
    and status in ('queued', 'running', 'waiting', 'waiting_for_worker')
$$;
revoke execute on function request_stop(uuid) from public;
grant execute on function request_stop(uuid) to ironflow_tenant, ironflow_service;

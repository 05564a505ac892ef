-- A run that failed or was cancelled first undoes what it had registered: until then it is queued, runs and waits like any
-- other, and this says what it will be. Its error, if that is to be, is stored already.
alter table runs
  add column stopping_as text,
  add column not_compensated json,
  -- How long its function was at work, over all its activations that have ended.
  add column active_ms bigint not null default 0;

-- What a run will be is decided once: one that is stopping cannot be cancelled any more.
create or replace function request_stop(given_run uuid) returns void
  language sql security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  update public.runs set
    stop_requested_at = date_trunc('milliseconds', now()),
    wake = wake + 1,
    woken_at = date_trunc('milliseconds', now()),
    status = case when status in ('waiting', 'waiting_for_worker') then 'queued' else status end
  where environment_id = public.current_environment() and id = given_run and stop_requested_at is null
    and stopping_as is null and status in ('queued', 'running', 'waiting', 'waiting_for_worker')
$$;

-- A run waits for an event, a signal or another run. Whoever finds what it waits for resolves it: the wait goes, its step is
-- flipped and its run is woken, in one transaction under the run's row lock (which covers waits as it covers timers).

-- An event resolves one wait of a run at most.
alter table steps add column awaited_run_id uuid, add column awaited_event_id uuid;
-- From a run to the one that invoked it.
create index steps_awaited_run on steps (environment_id, awaited_run_id) where awaited_run_id is not null;

create table waits (
  run_id uuid not null,
  step_id text not null,
  attempt integer not null,
  environment_id uuid not null,
  kind text not null check (kind in ('event', 'signal', 'run')),
  -- Of the event or the signal.
  name text,
  condition text,
  match_path text,
  -- As text; whether the event's value is of the same type is asked elsewhere.
  match_value text,
  match_type text,
  awaited_run_id uuid,
  -- Its turn among the waits of its run: of two that want the same, the one that was called first gets it.
  created_at timestamptz not null default now(),
  place integer not null,
  -- What was there before the wait was accepted has been looked through.
  looked_back boolean not null default false,
  primary key (run_id, step_id)
);
create index waits_event on waits (environment_id, name, match_path, match_value) where kind = 'event';
create index waits_awaited_run on waits (awaited_run_id) where kind = 'run';
create index waits_not_looked_back on waits (created_at) where not looked_back;

-- Those sent before a run waits for them are kept; those it has got stay until it ends, so that none is taken twice.
create table signals (
  run_id uuid not null,
  id uuid not null,
  environment_id uuid not null,
  name text not null,
  data json,
  sent_at timestamptz not null default clock_timestamp(),
  taken boolean not null default false,
  primary key (run_id, id)
);
create index signals_kept on signals (run_id, name) where not taken;

-- Routed while somebody waited for an event of that name: to be matched with the waits.
create table awaited_events (
  event_id uuid primary key,
  environment_id uuid not null,
  routed_at timestamptz not null default now()
);

do $$
declare
  tenant_table text;
begin
  foreach tenant_table in array array['waits', 'signals', 'awaited_events'] loop
    execute format('alter table %I enable row level security', tenant_table);
    execute format('alter table %I force row level security', tenant_table);
    execute format('create policy across_environments on %I to ironflow_service using (true) with check (true)',
      tenant_table);
    execute format('create policy own_environment on %I to ironflow_tenant
      using (environment_id = current_environment())', tenant_table);
    execute format('grant select, insert, update, delete on %I to ironflow_service', tenant_table);
  end loop;
end $$;
grant select on waits, signals to ironflow_tenant;

-- The only way in which a tenant sends one: under the run's row lock, so that none is left behind by a run that ends. Sent a
-- second time by the same id it changes nothing.
create policy owner_sends_signal on signals to ironflow_owner
  using (environment_id = current_environment()) with check (environment_id = current_environment());
create function send_signal(given_run uuid, given_id uuid, given_name text, given_data text, kept_max integer)
  returns text
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
as $$
declare
  run_status text;
begin
  select status into run_status from public.runs
    where environment_id = public.current_environment() and id = given_run for update;
  if run_status is null then
    return 'not_found';
  end if;
  if exists (select from public.signals where run_id = given_run and id = given_id) then
    return 'sent';
  end if;
  if run_status not in ('queued', 'running', 'waiting', 'waiting_for_worker') then
    return 'ended';
  end if;
  if (select count(*) from public.signals where run_id = given_run and not taken) >= kept_max then
    return 'too_many';
  end if;
  insert into public.signals (run_id, id, environment_id, name, data)
    values (given_run, given_id, public.current_environment(), given_name, given_data::json);
  return 'sent';
end $$;
revoke execute on function send_signal(uuid, uuid, text, text, integer) from public;
grant execute on function send_signal(uuid, uuid, text, text, integer) to ironflow_tenant, ironflow_service;

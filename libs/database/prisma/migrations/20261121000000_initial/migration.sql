-- The whole model, in the shape it is meant to keep. Applied by `migrate` as ironflow_owner, who owns
-- everything here and does nothing else; the roles exist before. Two rules hold for every table with an
-- environment_id:
--   * row-level security is enabled and forced: ironflow_service works across environments, ironflow_tenant sees
--     the one environment that its transaction has set, and nothing at all while none is set;
--   * events, runs and steps are partitioned by their time-ordered ids, and nobody is granted a partition.
-- Payloads are `json`: it keeps the text as it came, where `jsonb` refuses "\u0000" and lone surrogates.

-- The environment of the transaction; null when none is set, so that comparing with it is never true.
create function current_environment() returns uuid
  language sql stable parallel safe
  return nullif(current_setting('ironflow.environment_id', true), '')::uuid;

-- Tenants: organization, project, environment -------------------------------------------------------------

create table organizations (
  id uuid primary key,
  slug text not null unique,
  created_at timestamptz not null default now()
);

create table projects (
  id uuid primary key,
  organization_id uuid not null references organizations (id),
  slug text not null unique,
  created_at timestamptz not null default now(),
  unique (id, slug)
);

-- The project's slug is repeated here, kept true by the foreign key: scopes are read on every hot path.
create table environments (
  id uuid primary key,
  project_id uuid not null,
  project text not null,
  name text not null,
  registry_version integer not null default 0,
  created_at timestamptz not null default now(),
  foreign key (project_id, project) references projects (id, slug),
  unique (project_id, name)
);

create table api_keys (
  id uuid primary key,
  environment_id uuid not null references environments (id),
  name text not null,
  key_hash bytea not null unique,
  role text not null check (role in ('admin', 'developer', 'viewer')),
  scopes text[] not null default '{}',
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_environment on api_keys (environment_id);

-- Data keys wrapped by the master key, and what is sealed with them.
create table environment_data_keys (
  environment_id uuid not null references environments (id),
  version integer not null,
  master_key_id text not null,
  sealed bytea not null,
  created_at timestamptz not null default now(),
  primary key (environment_id, version)
);

create table signing_keys (
  id uuid primary key,
  environment_id uuid not null,
  version integer not null,
  data_key_version integer not null,
  sealed bytea not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz,
  foreign key (environment_id, data_key_version) references environment_data_keys (environment_id, version),
  unique (environment_id, version)
);

-- Registry ------------------------------------------------------------------------------------------------

create table apps (
  environment_id uuid not null references environments (id),
  id text not null,
  mode text not null check (mode in ('push', 'pull')),
  url text,
  sdk text,
  registered_at timestamptz not null default now(),
  primary key (environment_id, id)
);

create table functions (
  environment_id uuid not null,
  id text not null,
  app_id text not null,
  config json not null,
  hash text not null,
  status text not null default 'active' check (status in ('active', 'archived')),
  registered_at timestamptz not null default now(),
  archived_at timestamptz,
  primary key (environment_id, id),
  foreign key (environment_id, app_id) references apps (environment_id, id)
);

-- One row for each cron trigger of an active function; a schedule fires no time before it was registered.
create table schedules (
  environment_id uuid not null,
  function_id text not null,
  cron text not null,
  timezone text not null,
  registered_at timestamptz not null default now(),
  primary key (environment_id, function_id, cron, timezone),
  foreign key (environment_id, function_id) references functions (environment_id, id)
);

-- Events --------------------------------------------------------------------------------------------------

-- Rows are only ever inserted: that an event still has to be routed is a row of unrouted_events. Marking it
-- here would write every event, with its payload and all its index entries, twice.
create table events (
  id uuid not null,
  environment_id uuid not null,
  name text not null,
  data json not null,
  version text,
  source text not null,
  correlation_id text not null,
  causation_id text,
  traceparent text,
  received_at timestamptz not null default date_trunc('milliseconds', now()),
  primary key (id)
) partition by range (id);
create index events_environment on events (environment_id, id);
create index events_name on events (environment_id, name, id);
create index events_correlation on events (environment_id, correlation_id, id);

create table unrouted_events (
  event_id uuid primary key,
  environment_id uuid not null,
  received_at timestamptz not null default date_trunc('milliseconds', now())
);
create index unrouted_events_received on unrouted_events (received_at, event_id);

-- A key is for one event's name, hence for one function when it is invoked: whoever uses it for another writes a
-- null, and is refused.
create table idempotency_keys (
  environment_id uuid not null,
  key text not null,
  event_id uuid not null,
  event_name text,
  created_at timestamptz not null default now(),
  primary key (environment_id, key),
  constraint idempotency_key_reused check (event_name is not null)
);
create index idempotency_keys_created on idempotency_keys (created_at);

-- Runs ----------------------------------------------------------------------------------------------------

-- journal_seq moves with every accepted batch and is in no index: with room on the page (fillfactor of the
-- partitions) those updates stay heap-only. A run is found by its event through its id, which has the event's
-- time bits.
create table runs (
  id uuid not null,
  environment_id uuid not null,
  event_id uuid not null,
  app_id text not null,
  function_id text not null,
  function_hash text not null,
  mode text not null,
  status text not null,
  skip_reason text,
  correlation_id text not null,
  traceparent text,
  -- Reasons to run so far, and those that ended activations have served.
  wake integer not null default 1,
  served integer not null default 0,
  -- Consecutive calls that failed without progress.
  failures integer not null default 0,
  -- Sequence in RESULTS of the last accepted entry of its journal.
  journal_seq bigint not null default 0,
  woken_at timestamptz not null default date_trunc('milliseconds', now()),
  output json,
  error json,
  created_at timestamptz not null default date_trunc('milliseconds', now()),
  started_at timestamptz,
  ended_at timestamptz,
  primary key (id)
) partition by range (id);
create index runs_environment on runs (environment_id, id);
create index runs_status on runs (environment_id, status, id);
create index runs_function on runs (environment_id, function_id, id);
create index runs_correlation on runs (environment_id, correlation_id, id);
-- The slow sweep: whatever should be running and may have been forgotten.
create index runs_to_activate on runs (woken_at, id)
  where wake > served and status in ('queued', 'running', 'waiting');
-- Resumed runs (started_at is set) are released before new ones, the oldest first.
create index runs_waiting_for_worker on runs (environment_id, app_id, (started_at is null), id)
  where status = 'waiting_for_worker';

-- One row for each attempt.
create table steps (
  run_id uuid not null,
  step_id text not null,
  attempt integer not null,
  environment_id uuid not null,
  name text not null,
  type text not null,
  status text not null,
  output json,
  error json,
  started_at timestamptz not null,
  ended_at timestamptz,
  due_at timestamptz,
  -- Its place among the steps of its run, as the function saw them settle; a timer that ends a sleep gives none.
  settle_order integer,
  primary key (run_id, step_id, attempt)
) partition by range (run_id);

-- What is to happen at a time: a step's sleep or retry, or (step id '') the run's own retry. A run's row lock
-- covers its timers: whoever adds or removes one holds it, so timers and runs are never locked in two orders.
create table timers (
  run_id uuid not null,
  step_id text not null,
  attempt integer not null,
  environment_id uuid not null,
  due_at timestamptz not null,
  primary key (run_id, step_id)
);
create index timers_due on timers (due_at);

-- A letter whose message could not be read has no environment: only the platform sees it.
create table dead_letters (
  id uuid primary key,
  environment_id uuid,
  subject text not null,
  reason text not null,
  detail text not null,
  payload bytea not null,
  occurred_at timestamptz not null
);
create index dead_letters_environment on dead_letters (environment_id, id);

-- Partitions ----------------------------------------------------------------------------------------------

-- The lowest UUIDv7 of a millisecond.
create function lowest_id_at(at timestamptz) returns uuid
  language sql immutable strict parallel safe
  return (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid;

-- Months of UTC, made ahead, of one of the partitioned tables. A prepared statement locks every partition there is,
-- also those that it then prunes: more of them cost every statement. Ids of other times, such as backfills, go to
-- the default partition. It locks its table against everybody: only the one, since statements that hold one of them
-- and wait for another would wait in a circle, and only soon, since waiting for a lock queues everybody behind it.
-- It gives up instead and is called again.
create function ensure_partitions(parent text, months_ahead integer default 2) returns integer
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
  set timezone = 'UTC'
  set lock_timeout = '500ms'
as $$
declare
  fill integer := case parent when 'events' then 95 when 'runs' then 60 when 'steps' then 90 end;
  month timestamptz;
  partition text;
  made integer := 0;
begin
  if fill is null then
    raise exception '% is not partitioned', parent;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('ironflow.ensure_partitions.' || parent, 0));
  if to_regclass(format('public.%I', parent || '_default')) is null then
    execute format('create table public.%I partition of public.%I default with (fillfactor = %s)',
      parent || '_default', parent, fill);
    made := made + 1;
  end if;
  for month in
    select generate_series(date_trunc('month', now()),
      date_trunc('month', now()) + months_ahead * interval '1 month', interval '1 month')
  loop
    partition := parent || to_char(month, '"_m"YYYYMM');
    continue when to_regclass(format('public.%I', partition)) is not null;
    begin
      execute format(
        'create table public.%I partition of public.%I for values from (%L) to (%L) with (fillfactor = %s)',
        partition, parent, public.lowest_id_at(month),
        public.lowest_id_at(month + interval '1 month'), fill);
      made := made + 1;
    exception when check_violation then
      -- The default partition has rows of that month already; they stay there, and so do the month's others.
      raise warning 'partition % was not made: the default partition has rows of its month', partition;
    end;
  end loop;
  return made;
end $$;

-- Who may do what -----------------------------------------------------------------------------------------

do $$
declare
  tenant_table text;
begin
  foreach tenant_table in array array['api_keys', 'environment_data_keys', 'signing_keys', 'apps', 'functions',
    'schedules', 'events', 'unrouted_events', 'idempotency_keys', 'runs', 'steps', 'timers', 'dead_letters']
  loop
    execute format('alter table %I enable row level security', tenant_table);
    execute format('alter table %I force row level security', tenant_table);
    execute format('create policy across_environments on %I to ironflow_service using (true) with check (true)',
      tenant_table);
    execute format('create policy own_environment on %I to ironflow_tenant
      using (environment_id = current_environment())', tenant_table);
    execute format('grant select, insert, update, delete on %I to ironflow_service', tenant_table);
  end loop;
end $$;

alter table organizations enable row level security;
alter table organizations force row level security;
create policy across_environments on organizations to ironflow_service using (true) with check (true);
alter table projects enable row level security;
alter table projects force row level security;
create policy across_environments on projects to ironflow_service using (true) with check (true);
alter table environments enable row level security;
alter table environments force row level security;
create policy across_environments on environments to ironflow_service using (true) with check (true);
create policy own_environment on environments to ironflow_tenant using (id = current_environment());
grant select, insert, update, delete on organizations, projects, environments to ironflow_service;

grant select on environments to ironflow_tenant;
grant update (registry_version) on environments to ironflow_tenant;
grant select, insert, update on apps, functions to ironflow_tenant;
grant select, insert, delete on schedules to ironflow_tenant;
grant select, insert on events, unrouted_events to ironflow_tenant;
grant select, insert, update on idempotency_keys to ironflow_tenant;
grant select, insert on dead_letters to ironflow_tenant;
create policy unowned on dead_letters for insert to ironflow_tenant with check (environment_id is null);
grant select on runs, steps, timers to ironflow_tenant;

-- The environment of an API key, before any environment is known: the one way around the tenant's policy. It
-- answers a single live key by its keyed hash and nothing else. Nothing checks scopes yet: a key that has any would
-- be able to do more than it was made for, so it is not live.
create policy owner_authenticates on api_keys for select to ironflow_owner using (true);
create policy owner_authenticates on environments for select to ironflow_owner using (true);
create function authenticate_api_key(given_hash bytea)
  returns table (key_id uuid, environment_id uuid, project text, env text, role text, scopes text[])
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select k.id, e.id, e.project, e.name, k.role, k.scopes
  from public.api_keys k join public.environments e on e.id = k.environment_id
  where k.key_hash = given_hash and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    and cardinality(k.scopes) = 0
$$;

revoke execute on function ensure_partitions(text, integer), authenticate_api_key(bytea) from public;
grant execute on function ensure_partitions(text, integer) to ironflow_service;
grant execute on function authenticate_api_key(bytea) to ironflow_service, ironflow_tenant;
grant select on _prisma_migrations to ironflow_service, ironflow_tenant;

select ensure_partitions('events');
select ensure_partitions('runs');
select ensure_partitions('steps');

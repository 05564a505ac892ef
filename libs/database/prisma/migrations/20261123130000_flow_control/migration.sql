-- Flow control: one row for each live run of a function that has any, and what its rules remember. Runs of other functions have
-- none, and none of their statements looks here.
alter table runs add column limited boolean not null default false;
-- The run that its event joined, or gave way to.
alter table runs add column joined_run_id uuid;
alter table functions add column paused_at timestamptz;
alter table environments add column paused_at timestamptz;

-- arrived: to be decided · held: debounced or gathering a batch · queued: waits for room · admitted: its activation is out ·
-- resting: it has begun and waits for something of its own.
create table queue_entries (
  run_id uuid primary key,
  environment_id uuid not null,
  -- Events of one request have ids in their order.
  event_id uuid not null,
  function_id text not null,
  state text not null check (state in ('arrived', 'held', 'queued', 'admitted', 'resting')),
  keys json not null,
  -- What its event's data takes, for batches.
  bytes integer not null,
  received_at timestamptz not null,
  -- Its place in the queue: when it came, less its priority.
  position timestamptz not null,
  -- It has begun before; it goes before those that have not.
  resumed boolean not null default false,
  lane text,
  due_at timestamptz
);
create index queue_entries_arrived on queue_entries (environment_id, received_at, event_id) where state = 'arrived';
create index queue_entries_due on queue_entries (environment_id, due_at) where state = 'held';
create index queue_entries_queued on queue_entries (environment_id, lane, position, event_id) where state = 'queued';
create index queue_entries_function on queue_entries (environment_id, function_id, state);

-- Runs that may stand for one another while they wait: of one function, under the same slots and the same throttle.
create table queue_lanes (
  environment_id uuid not null,
  lane text not null,
  function_id text not null,
  resumed boolean not null,
  -- One for each rule of concurrency, and that of the singleton.
  slots text[] not null,
  throttle text,
  -- Of its first run.
  position timestamptz not null,
  -- What it waits for: a slot, 'paused', or the time below.
  blocked_by text,
  ready_at timestamptz not null,
  primary key (environment_id, lane)
);
create index queue_lanes_ready on queue_lanes (environment_id, resumed desc, position) where blocked_by is null;
create index queue_lanes_blocked on queue_lanes (environment_id, blocked_by, resumed desc, position)
  where blocked_by is not null;

-- A run's slot is taken in the transaction that admits it, and given back in the one that accepts the end of its activation; one
-- that is kept goes with the run. Where a call may go on after that, it stays until the time below.
create table slots (
  environment_id uuid not null,
  slot text not null,
  run_id uuid not null,
  kept boolean not null default false,
  taken_at timestamptz not null default now(),
  leased_until timestamptz,
  primary key (environment_id, slot, run_id)
);
create index slots_run on slots (run_id);
create index slots_leased on slots (environment_id, leased_until) where leased_until is not null;

-- What the other rules remember under a key: when the rate lets the next one in (finer than a timestamp), the run that holds a
-- debounce, a batch, a singleton or an idempotency key.
create table flow_states (
  environment_id uuid not null,
  function_id text not null,
  rule text not null,
  key_hash text not null,
  next_at_ms double precision,
  run_id uuid,
  since_ms double precision,
  due_at_ms double precision,
  size integer,
  bytes integer,
  expires_at timestamptz not null,
  primary key (environment_id, function_id, rule, key_hash)
);
create index flow_states_expired on flow_states (expires_at);

-- The events of a run that began with several, the first one's included.
create table run_events (
  run_id uuid not null,
  place integer not null,
  environment_id uuid not null,
  event_id uuid not null,
  primary key (run_id, place)
);

do $$
declare
  tenant_table text;
begin
  foreach tenant_table in array array['queue_entries', 'queue_lanes', 'slots', 'flow_states', 'run_events']
  loop
    execute format('alter table %I enable row level security', tenant_table);
    execute format('alter table %I force row level security', tenant_table);
    execute format('create policy across_environments on %I to ironflow_service using (true) with check (true)',
      tenant_table);
    execute format('create policy own_environment on %I to ironflow_tenant
      using (environment_id = current_environment())', tenant_table);
    execute format('grant select, insert, update, delete on %I to ironflow_service', tenant_table);
    execute format('grant select on %I to ironflow_tenant', tenant_table);
  end loop;
end $$;

grant update (paused_at) on environments to ironflow_tenant;

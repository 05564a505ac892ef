-- Schedules in full: an id that is told to people, options, pausing, and what became of their times.
alter table schedules
  add column name text,
  add column jitter_ms integer,
  add column overlap text check (overlap in ('allow', 'skip', 'queue', 'cancel')),
  add column catch_up_ms bigint,
  -- No time after it is fired; and none before it was resumed.
  add column paused_at timestamptz,
  add column resumed_at timestamptz,
  -- Of every time up to here it is settled that it was fired or given up.
  add column settled_until timestamptz not null default now(),
  -- The latest time that was fired, and when that was.
  add column last_scheduled_at timestamptz,
  add column last_fired_at timestamptz,
  -- Times that were not fired within the catch-up window, and when the latest of them would have been.
  add column given_up bigint not null default 0,
  add column last_given_up_at timestamptz;
-- Also for rows that the version before inserts; libs/schema makes the same (scheduleIdOf).
alter table schedules add column id text not null
  generated always as (function_id || '.' || coalesce(name, left(md5(cron || chr(10) || timezone), 8))) stored;
create unique index schedules_id on schedules (environment_id, id);
grant update (name, jitter_ms, overlap, catch_up_ms, paused_at, resumed_at, settled_until) on schedules to ironflow_tenant;

-- Events that are accepted and not due yet. One that is due becomes a row of events in the statement that removes it here.
-- An id has the time at which it is due, as if it came then: in their order, events are by their ids.
create table scheduled_events (
  id uuid primary key,
  environment_id uuid not null,
  name text not null,
  data json not null,
  version text,
  source text not null,
  correlation_id text not null,
  causation_id text,
  traceparent text,
  due_at timestamptz not null,
  created_at timestamptz not null default date_trunc('milliseconds', now())
);
create index scheduled_events_due on scheduled_events (due_at, id);
create index scheduled_events_environment on scheduled_events (environment_id, id);

alter table scheduled_events enable row level security;
alter table scheduled_events force row level security;
create policy across_environments on scheduled_events to ironflow_service using (true) with check (true);
create policy own_environment on scheduled_events to ironflow_tenant
  using (environment_id = current_environment()) with check (environment_id = current_environment());
grant select, insert, update, delete on scheduled_events to ironflow_service;
grant select, insert, delete on scheduled_events to ironflow_tenant;

-- The texts of large outputs, from before their entries are appended to the journal until they are accepted: then each becomes
-- its step's or its run's (step id '', attempt 0) and goes from here. What is never accepted, such as a branch's, goes after its run.
create table claimed_outputs (
  run_id uuid not null,
  step_id text not null,
  attempt integer not null,
  hash text not null,
  environment_id uuid not null,
  output json not null,
  created_at timestamptz not null default now(),
  primary key (run_id, step_id, attempt, hash)
);

alter table claimed_outputs enable row level security;
alter table claimed_outputs force row level security;
create policy across_environments on claimed_outputs to ironflow_service using (true) with check (true);
create policy own_environment on claimed_outputs to ironflow_tenant using (environment_id = current_environment());
grant select, insert, update, delete on claimed_outputs to ironflow_service;

-- Circuit breakers that operators hold open. The bucket that executors watch is a live view: it is rebuilt from here.
create table forced_breakers (
  environment_id uuid not null,
  function_id text not null,
  endpoint text not null,
  since timestamptz not null default now(),
  -- Without one: until it is reset.
  until timestamptz,
  primary key (environment_id, function_id, endpoint)
);

alter table forced_breakers enable row level security;
alter table forced_breakers force row level security;
create policy across_environments on forced_breakers to ironflow_service using (true) with check (true);
create policy own_environment on forced_breakers to ironflow_tenant
  using (environment_id = current_environment()) with check (environment_id = current_environment());
grant select, delete on forced_breakers to ironflow_service;
grant select, insert, update, delete on forced_breakers to ironflow_tenant;

-- Why a run was put off, which holds as long as its journal stands where it did then.
alter table runs add column deferred_reason text;
alter table runs add column deferred_seq bigint;

-- Whose the subjects of a place are, for who reads messages that name no environment: answers one id and nothing else.
create function find_environment(given_project text, given_env text) returns uuid
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select id from public.environments where project = given_project and name = given_env
$$;
revoke execute on function find_environment(text, text) from public;
grant execute on function find_environment(text, text) to ironflow_tenant, ironflow_service;

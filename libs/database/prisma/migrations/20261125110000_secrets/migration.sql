-- Secrets of an environment, for the code that runs its functions. The newest version is the one that is read.
create table secrets (
  environment_id uuid not null,
  name text not null,
  version integer not null check (version > 0),
  data_key_version integer not null,
  sealed bytea not null,
  created_at timestamptz not null default now(),
  primary key (environment_id, name, version),
  foreign key (environment_id, data_key_version) references environment_data_keys (environment_id, version)
);
-- For rotations of the data key.
create index secrets_data_key on secrets (environment_id, data_key_version);

alter table secrets enable row level security;
alter table secrets force row level security;
create policy across_environments on secrets to ironflow_service using (true) with check (true);
create policy own_environment on secrets to ironflow_tenant
  using (environment_id = current_environment()) with check (environment_id = current_environment());
grant select, insert, update, delete on secrets to ironflow_service;
-- All but the value, which is read by sealed_secrets alone.
grant select (environment_id, name, version, created_at) on secrets to ironflow_tenant;
grant insert, delete on secrets to ironflow_tenant;

-- The newest version of each name, with the data key that opens it: of use only to who has the master key.
create policy owner_reads_secret on secrets for select to ironflow_owner using (true);
create function sealed_secrets(given_names text[])
  returns table (name text, version integer, sealed bytea, data_key_version integer, master_key_id text, data_key bytea)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select distinct on (s.name) s.name, s.version, s.sealed, k.version, k.master_key_id, k.sealed
  from public.secrets s
  join public.environment_data_keys k on k.environment_id = s.environment_id and k.version = s.data_key_version
  where s.environment_id = public.current_environment() and s.name = any(given_names)
  order by s.name, s.version desc
$$;
revoke execute on function sealed_secrets(text[]) from public;
grant execute on function sealed_secrets(text[]) to ironflow_tenant, ironflow_service;

-- Whoever seals waits for a rotation of the environment's data key, and so seals with the new one. Each statement of it sees what was
-- committed before it, which the one statement of before did not.
create or replace function newest_data_key() returns table (version integer, master_key_id text, sealed bytea)
  language plpgsql volatile security definer
  set search_path = pg_catalog, public, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('ironflow.data_key:' || public.current_environment(), 0));
  return query select k.version, k.master_key_id, k.sealed from public.environment_data_keys k
    where k.environment_id = public.current_environment() order by k.version desc limit 1;
end
$$;

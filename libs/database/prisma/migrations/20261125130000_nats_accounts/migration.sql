-- Accounts of environments at NATS servers in operator mode. The seed signs the account's users; what the servers are told of an
-- account is made anew from these rows.
create table nats_accounts (
  environment_id uuid primary key references environments (id),
  public_key text not null unique,
  data_key_version integer not null,
  sealed bytea not null,
  created_at timestamptz not null default now(),
  foreign key (environment_id, data_key_version) references environment_data_keys (environment_id, version)
);

-- Of each the servers alone know what proves it: neither token nor seed is kept. A revoked one is kept until it would have
-- expired, as the servers have to know of it as long.
create table nats_credentials (
  id uuid primary key,
  environment_id uuid not null references nats_accounts (environment_id),
  name text not null,
  public_key text not null unique,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index nats_credentials_environment on nats_credentials (environment_id, id);

do $$
declare
  tenant_table text;
begin
  foreach tenant_table in array array['nats_accounts', 'nats_credentials']
  loop
    execute format('alter table %I enable row level security', tenant_table);
    execute format('alter table %I force row level security', tenant_table);
    execute format('create policy across_environments on %I to ironflow_service using (true) with check (true)',
      tenant_table);
    execute format('create policy own_environment on %I to ironflow_tenant
      using (environment_id = current_environment()) with check (environment_id = current_environment())', tenant_table);
    execute format('grant select, insert, update, delete on %I to ironflow_service', tenant_table);
  end loop;
end $$;

-- All but the seed, which own_nats_account alone reads.
grant select (environment_id, public_key, data_key_version, created_at), insert on nats_accounts to ironflow_tenant;
grant select, insert, delete, update (revoked_at) on nats_credentials to ironflow_tenant;

create policy owner_reads_account on nats_accounts for select to ironflow_owner using (true);
create function own_nats_account() returns table (public_key text, sealed bytea, data_key_version integer,
    master_key_id text, data_key bytea)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select a.public_key, a.sealed, k.version, k.master_key_id, k.sealed
  from public.nats_accounts a
  join public.environment_data_keys k on k.environment_id = a.environment_id and k.version = a.data_key_version
  where a.environment_id = public.current_environment()
$$;
revoke execute on function own_nats_account() from public;
grant execute on function own_nats_account() to ironflow_tenant, ironflow_service;

-- Sources of webhooks: addresses to which providers send. The address is what a provider is told and nothing more: the
-- signature is what a delivery is believed for.
create table webhook_sources (
  environment_id uuid not null references environments (id),
  id text not null,
  address text not null unique,
  provider text not null,
  -- How a provider signs that is none of the known ones.
  scheme json,
  event_prefix text not null,
  headers text[] not null default '{}',
  status text not null default 'active' check (status in ('active', 'paused')),
  created_at timestamptz not null default now(),
  -- Of all refused deliveries, and of those that the log did not take; then of the last minute that had any.
  refused bigint not null default 0,
  refused_unlogged bigint not null default 0,
  refused_minute timestamptz,
  refused_in_minute integer not null default 0,
  primary key (environment_id, id)
);

-- What signatures are checked with. One that was replaced expires at the end of its grace.
create table webhook_secrets (
  id uuid primary key,
  environment_id uuid not null,
  source_id text not null,
  data_key_version integer not null,
  sealed bytea not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  foreign key (environment_id, source_id) references webhook_sources (environment_id, id) on delete cascade,
  foreign key (environment_id, data_key_version) references environment_data_keys (environment_id, version)
);
create index webhook_secrets_source on webhook_secrets (environment_id, source_id);

-- The log. Payloads are with the events.
create table webhook_deliveries (
  id uuid primary key,
  environment_id uuid not null,
  source_id text not null,
  status text not null check (status in ('accepted', 'duplicate', 'refused')),
  reason text,
  -- The provider's.
  delivery_id text,
  event_id uuid,
  event_name text,
  received_at timestamptz not null default now(),
  foreign key (environment_id, source_id) references webhook_sources (environment_id, id) on delete cascade
);
create index webhook_deliveries_source on webhook_deliveries (environment_id, source_id, id);
create index webhook_deliveries_status on webhook_deliveries (environment_id, source_id, status, id);

do $$
declare
  tenant_table text;
begin
  foreach tenant_table in array array['webhook_sources', 'webhook_secrets', 'webhook_deliveries']
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

grant select, insert, delete on webhook_sources to ironflow_tenant;
grant update (status, refused, refused_unlogged, refused_minute, refused_in_minute) on webhook_sources to ironflow_tenant;
-- All but the secret itself, which is read by find_webhook_sources alone.
grant select (id, environment_id, source_id, created_at, expires_at) on webhook_secrets to ironflow_tenant;
grant insert, delete, update (expires_at) on webhook_secrets to ironflow_tenant;
grant select, insert on webhook_deliveries to ironflow_tenant;

-- What a new secret of the environment is sealed with; of use only to who has the master key.
create policy owner_reads_data_key on environment_data_keys for select to ironflow_owner using (true);
create function newest_data_key() returns table (version integer, master_key_id text, sealed bytea)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select k.version, k.master_key_id, k.sealed from public.environment_data_keys k
  where k.environment_id = public.current_environment() order by k.version desc limit 1
$$;

-- Whose the addresses are, before any environment is known, with what their deliveries are checked by: answers sources by
-- their addresses and nothing else.
create policy owner_finds_source on webhook_sources for select to ironflow_owner using (true);
create policy owner_finds_secret on webhook_secrets for select to ironflow_owner using (true);
create function find_webhook_sources(given_addresses text[])
  returns table (address text, environment_id uuid, project text, env text, id text, provider text, scheme json,
    event_prefix text, headers text[], status text, secrets json)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select s.address, e.id, e.project, e.name, s.id, s.provider, s.scheme, s.event_prefix, s.headers, s.status,
    (select coalesce(json_agg(json_build_object('id', w.id, 'sealed', encode(w.sealed, 'hex'),
        'dataKeyVersion', k.version, 'masterKeyId', k.master_key_id, 'dataKey', encode(k.sealed, 'hex'))), '[]')
      from public.webhook_secrets w
      join public.environment_data_keys k on k.environment_id = w.environment_id and k.version = w.data_key_version
      where w.environment_id = s.environment_id and w.source_id = s.id
        and (w.expires_at is null or w.expires_at > now()))
  from public.webhook_sources s join public.environments e on e.id = s.environment_id
  where s.address = any(given_addresses)
$$;

revoke execute on function newest_data_key(), find_webhook_sources(text[]) from public;
grant execute on function newest_data_key(), find_webhook_sources(text[]) to ironflow_tenant, ironflow_service;

-- Tenants from their beginning to their end: operators who make them, keys that are narrowed and replaced, environments that are
-- archived, deleted and erased.

-- Archived: its keys are refused, no run begins, no schedule fires. Erased: nothing of it is left but this row, so that its name,
-- which is in subjects, never means another environment.
alter table environments add column archived_at timestamptz, add column erase_after timestamptz, add column erased_at timestamptz;
create index environments_to_erase on environments (erase_after) where erase_after is not null and erased_at is null;

-- As its environment: by the row that is locked before a time is fired.
alter table schedules add column archived_at timestamptz;

-- One that was replaced is good for a while beside the one in its place; it expires by the earlier of the two times.
alter table api_keys add column replaced_until timestamptz, add column last_used_at timestamptz;
alter table signing_keys add column expires_at timestamptz;

grant select (id, environment_id, name, role, scopes, created_at, expires_at, replaced_until, revoked_at, last_used_at),
  insert, update (replaced_until, revoked_at) on api_keys to ironflow_tenant;
-- All but the key itself, which only executors open.
grant select (id, environment_id, version, created_at, expires_at, revoked_at), insert, update (expires_at)
  on signing_keys to ironflow_tenant;

-- Of people and programs that manage tenants. They belong to no environment, and reach nothing in one.
create table operator_keys (
  id uuid primary key,
  name text not null,
  key_hash bytea not null unique,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
alter table operator_keys enable row level security;
alter table operator_keys force row level security;
create policy across_environments on operator_keys to ironflow_service using (true) with check (true);
grant select, insert, update on operator_keys to ironflow_service;

-- The environment of an API key, as authenticate_api_key answers it to builds that know neither scopes nor archives. This one says
-- both: whoever asks has to heed them.
create function find_api_key(given_hash bytea)
  returns table (key_id uuid, environment_id uuid, project text, env text, role text, scopes text[], archived boolean)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select k.id, e.id, e.project, e.name, k.role, k.scopes, e.archived_at is not null
  from public.api_keys k join public.environments e on e.id = k.environment_id
  where k.key_hash = given_hash and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    and (k.replaced_until is null or k.replaced_until > now())
$$;

create or replace function authenticate_api_key(given_hash bytea)
  returns table (key_id uuid, environment_id uuid, project text, env text, role text, scopes text[])
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select k.key_id, k.environment_id, k.project, k.env, k.role, k.scopes from public.find_api_key(given_hash) k
  where cardinality(k.scopes) = 0 and not k.archived
$$;

-- To the minute. Whose they are is not asked: who has used a key was told its id.
create policy owner_records_use on api_keys for update to ironflow_owner using (true);
create function record_key_use(given_ids uuid[]) returns void
  language sql volatile security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  update public.api_keys k set last_used_at = now()
  from (select id from public.api_keys where id = any(given_ids)
    and (last_used_at is null or last_used_at < now() - interval '50 seconds') order by id for update) used
  where k.id = used.id
$$;

revoke execute on function find_api_key(bytea), record_key_use(uuid[]) from public;
grant execute on function find_api_key(bytea), record_key_use(uuid[]) to ironflow_service, ironflow_tenant;

-- A source of an archived environment is as one that is paused: a provider that tries again does so later.
create or replace function find_webhook_sources(given_addresses text[])
  returns table (address text, environment_id uuid, project text, env text, id text, provider text, scheme json,
    event_prefix text, headers text[], status text, secrets json)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select s.address, e.id, e.project, e.name, s.id, s.provider, s.scheme, s.event_prefix, s.headers,
    case when e.archived_at is null then s.status else 'paused' end,
    (select coalesce(json_agg(json_build_object('id', w.id, 'sealed', encode(w.sealed, 'hex'),
        'dataKeyVersion', k.version, 'masterKeyId', k.master_key_id, 'dataKey', encode(k.sealed, 'hex'))), '[]')
      from public.webhook_secrets w
      join public.environment_data_keys k on k.environment_id = w.environment_id and k.version = w.data_key_version
      where w.environment_id = s.environment_id and w.source_id = s.id
        and (w.expires_at is null or w.expires_at > now()))
  from public.webhook_sources s join public.environments e on e.id = s.environment_id
  where s.address = any(given_addresses)
$$;

-- A link of an archived environment leads nowhere until that is restored.
create or replace function find_approval_link(given_hash bytea)
  returns table (environment_id uuid, project text, env text, run_id uuid, name text)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select e.id, e.project, e.name, l.run_id, l.name
  from public.approval_links l join public.environments e on e.id = l.environment_id
  where l.token_hash = given_hash and e.archived_at is null
$$;

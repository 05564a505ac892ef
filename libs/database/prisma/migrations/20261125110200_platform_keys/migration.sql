-- Keys of the whole installation, such as those of the hashes of API keys: wrapped by the master key, so that they stay what they are
-- when that is replaced.
create table platform_keys (
  name text primary key,
  master_key_id text not null,
  sealed bytea not null,
  created_at timestamptz not null default now()
);

alter table platform_keys enable row level security;
alter table platform_keys force row level security;
create policy across_environments on platform_keys to ironflow_service using (true) with check (true);
create policy owner_keeps_key on platform_keys to ironflow_owner using (true) with check (true);
grant select, update on platform_keys to ironflow_service;

-- The one that is kept: whoever is first decides, and who gives none only asks. Of use only to who has the master key.
create function keep_platform_key(given_name text, given_master_key_id text, given_sealed bytea)
  returns table (master_key_id text, sealed bytea)
  language plpgsql volatile security definer
  set search_path = pg_catalog, public, pg_temp
as $$
begin
  if given_sealed is not null then
    insert into public.platform_keys (name, master_key_id, sealed)
      values (given_name, given_master_key_id, given_sealed) on conflict (name) do nothing;
  end if;
  return query select k.master_key_id, k.sealed from public.platform_keys k where k.name = given_name;
end
$$;

-- Under which master key the installation began, as far as is known: a name and nothing else.
create function oldest_master_key_id() returns text
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select master_key_id from public.environment_data_keys order by created_at, environment_id, version limit 1
$$;

revoke execute on function keep_platform_key(text, text, bytea), oldest_master_key_id() from public;
grant execute on function keep_platform_key(text, text, bytea), oldest_master_key_id() to ironflow_tenant, ironflow_service;

-- What an environment may use. A quota that is null is the platform's default.
create table environment_quotas (
  environment_id uuid primary key references environments (id),
  events_per_second integer check (events_per_second > 0),
  requests_per_second integer check (requests_per_second > 0),
  payload_bytes integer check (payload_bytes > 0),
  queued_runs integer check (queued_runs > 0),
  storage_bytes bigint check (storage_bytes > 0)
);

-- What it uses of what is too large to be counted whenever it is asked for: measured by the scheduler.
create table environment_use (
  environment_id uuid primary key references environments (id),
  storage_bytes bigint not null
);

do $$
declare
  tenant_table text;
begin
  foreach tenant_table in array array['environment_quotas', 'environment_use']
  loop
    execute format('alter table %I enable row level security', tenant_table);
    execute format('alter table %I force row level security', tenant_table);
    execute format('create policy across_environments on %I to ironflow_service using (true) with check (true)',
      tenant_table);
    execute format('create policy own_environment on %I to ironflow_tenant
      using (environment_id = current_environment()) with check (environment_id = current_environment())', tenant_table);
    execute format('grant select, insert, update, delete on %I to ironflow_service', tenant_table);
    execute format('grant select on %I to ironflow_tenant', tenant_table);
  end loop;
end $$;
grant insert, update on environment_quotas to ironflow_tenant;

-- About how much each environment stores, from a sample of the pages of each table: so many of each at most, evenly spread. What is kept
-- outside of its row counts as it is stored, compressed. Writes what has changed.
create function measure_storage(pages_max integer) returns void
  language plpgsql
  set search_path = pg_catalog, public, pg_temp
as $$
declare
  kept record;
  pages bigint;
  samples text[] := '{}';
begin
  for kept in select * from (values ('events', 'data'), ('steps', 'output'), ('runs', 'output')) as k (name, payload)
  loop
    select coalesce(sum(pg_relation_size(i.inhrelid)) / current_setting('block_size')::bigint, 0) into pages
      from pg_inherits i where i.inhparent = ('public.' || kept.name)::regclass;
    -- Of the columns but the payload a row has some hundred bytes.
    samples := samples || format(
      'select environment_id, sum(200 + coalesce(pg_column_size(%I), 0)) * 100 / %s as bytes
        from public.%I tablesample system (%2$s) group by 1',
      kept.payload, least(100, round(100.0 * pages_max / greatest(pages, 1), 4)), kept.name);
  end loop;
  execute format('
    insert into public.environment_use as u (environment_id, storage_bytes)
    select e.id, coalesce(sum(m.bytes), 0)::bigint
    from public.environments e left join (%s) m on m.environment_id = e.id group by e.id
    having sum(m.bytes) > 0 or exists (select from public.environment_use known where known.environment_id = e.id)
    on conflict (environment_id) do update set storage_bytes = excluded.storage_bytes
      where u.storage_bytes <> excluded.storage_bytes', array_to_string(samples, ' union all '));
end
$$;
revoke execute on function measure_storage(integer) from public;
grant execute on function measure_storage(integer) to ironflow_service;

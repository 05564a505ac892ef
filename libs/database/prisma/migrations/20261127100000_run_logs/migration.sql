-- What the loggers of runs wrote. Nothing waits for a line: executors store them in batches, as well as they can. The id is a line's
-- place among those of its run; a line that is stored again has the same.
create table run_logs (
  run_id uuid not null,
  id uuid not null,
  environment_id uuid not null,
  -- By the clock of the process that wrote it.
  logged_at timestamptz not null,
  level text not null,
  message text not null,
  fields json,
  -- Of the step that wrote it; null for the function itself.
  step_id text,
  attempt integer,
  primary key (run_id, id)
) partition by range (run_id);

-- As before, and for lines, which are never updated.
create or replace function ensure_partitions(parent text, months_ahead integer default 2) returns integer
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
  set timezone = 'UTC'
  set lock_timeout = '500ms'
as $$
declare
  fill integer := case parent when 'events' then 95 when 'runs' then 60 when 'steps' then 90 when 'run_logs' then 100 end;
  month timestamptz;
  partition text;
  made integer := 0;
begin
  if fill is null then
    raise exception '% is not partitioned', parent;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('ironflow.ensure_partitions.' || parent, 0));
  if to_regclass(format('public.%I', parent || '_default')) is null then
    execute format('create table public.%I partition of public.%I default with (fillfactor = %s)',
      parent || '_default', parent, fill);
    made := made + 1;
  end if;
  for month in
    select generate_series(date_trunc('month', now()),
      date_trunc('month', now()) + months_ahead * interval '1 month', interval '1 month')
  loop
    partition := parent || to_char(month, '"_m"YYYYMM');
    continue when to_regclass(format('public.%I', partition)) is not null;
    begin
      execute format(
        'create table public.%I partition of public.%I for values from (%L) to (%L) with (fillfactor = %s)',
        partition, parent, public.lowest_id_at(month),
        public.lowest_id_at(month + interval '1 month'), fill);
      made := made + 1;
    exception when check_violation then
      -- The default partition has rows of that month already; they stay there, and so do the month's others.
      raise warning 'partition % was not made: the default partition has rows of its month', partition;
    end;
  end loop;
  return made;
end $$;

-- As before, and with the lines.
create or replace function measure_storage(pages_max integer) returns void
  language plpgsql
  set search_path = pg_catalog, public, pg_temp
as $$
declare
  kept record;
  pages bigint;
  samples text[] := '{}';
begin
  for kept in select * from (values
    ('events', 'coalesce(pg_column_size(data), 0)'),
    ('steps', 'coalesce(pg_column_size(output), 0)'),
    ('runs', 'coalesce(pg_column_size(output), 0)'),
    ('run_logs', 'pg_column_size(message) + coalesce(pg_column_size(fields), 0)')) as k (name, payload_bytes)
  loop
    select coalesce(sum(pg_relation_size(i.inhrelid)) / current_setting('block_size')::bigint, 0) into pages
      from pg_inherits i where i.inhparent = ('public.' || kept.name)::regclass;
    -- Of the columns but the payload a row has some hundred bytes.
    samples := samples || format(
      'select environment_id, sum(200 + %s) * 100 / %s as bytes
        from public.%I tablesample system (%2$s) group by 1',
      kept.payload_bytes, least(100, round(100.0 * pages_max / greatest(pages, 1), 4)), kept.name);
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

alter table run_logs enable row level security;
alter table run_logs force row level security;
create policy across_environments on run_logs to ironflow_service using (true) with check (true);
create policy own_environment on run_logs to ironflow_tenant using (environment_id = current_environment());
grant select, insert, delete on run_logs to ironflow_service;
grant select on run_logs to ironflow_tenant;

select ensure_partitions('run_logs');

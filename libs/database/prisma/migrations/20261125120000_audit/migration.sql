-- The audit log of an environment: who did what from where, each entry bound to the one before it by its hash. Entries are added by
-- append_audit_entry alone; no service may change or remove one.
create table audit_entries (
  environment_id uuid not null references environments (id),
  -- From 1, without gaps.
  sequence bigint not null check (sequence > 0),
  occurred_at timestamptz not null,
  actor_kind text not null check (actor_kind in ('key', 'operator', 'link', 'system')),
  actor_id text not null,
  action text not null,
  target_kind text not null,
  target_id text,
  address text,
  request_id text,
  outcome text not null check (outcome in ('done', 'refused')),
  -- Of the error, where it was refused.
  code text,
  count integer not null check (count > 0),
  -- Canonical JSON, kept as it was hashed.
  details json not null,
  previous_hash bytea not null,
  hash bytea not null,
  primary key (environment_id, sequence)
);
create index audit_entries_action on audit_entries (environment_id, action, sequence);
create index audit_entries_actor on audit_entries (environment_id, actor_id, sequence);

-- The last entry of each environment: whoever adds the next takes its row.
create table audit_heads (
  environment_id uuid primary key references environments (id),
  sequence bigint not null,
  hash bytea not null
);

do $$
declare
  tenant_table text;
begin
  foreach tenant_table in array array['audit_entries', 'audit_heads']
  loop
    execute format('alter table %I enable row level security', tenant_table);
    execute format('alter table %I force row level security', tenant_table);
    execute format('create policy across_environments on %I to ironflow_service using (true)', tenant_table);
    execute format('create policy own_environment on %I to ironflow_tenant
      using (environment_id = current_environment())', tenant_table);
    execute format('grant select on %I to ironflow_service, ironflow_tenant', tenant_table);
    -- For the functions below, which run as the owner.
    execute format('create policy owner_appends on %I to ironflow_owner using (true) with check (true)', tenant_table);
  end loop;
end $$;

-- What is hashed: RFC 8785 canonical JSON (keys sorted, no white space, strings as to_json writes them), without what is absent. The
-- reader's side is entryText in libs/schema/src/audit.ts.
create function audit_entry_text(entry audit_entries) returns text
  language sql stable
  set search_path = pg_catalog, public, pg_temp
as $$
  select concat(
    '{"action":', to_json(entry.action),
    ',"actor":{"id":', to_json(entry.actor_id), ',"kind":', to_json(entry.actor_kind), '}',
    ',"address":' || to_json(entry.address)::text,
    ',"code":' || to_json(entry.code)::text,
    ',"count":', entry.count,
    ',"details":', entry.details,
    ',"environmentId":', to_json(entry.environment_id),
    ',"occurredAt":"', to_char(entry.occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '"',
    ',"outcome":', to_json(entry.outcome),
    ',"previousHash":"', encode(entry.previous_hash, 'hex'), '"',
    ',"requestId":' || to_json(entry.request_id)::text,
    ',"sequence":', entry.sequence,
    ',"target":{', '"id":' || to_json(entry.target_id)::text || ',', '"kind":', to_json(entry.target_kind), '}',
    '}')
$$;

-- Adds to the log of the environment that is set, and answers the sequence. Whoever calls at the same time waits for the head's row,
-- so that the chain has neither gaps nor forks.
create function append_audit_entry(given_actor_kind text, given_actor_id text, given_action text,
  given_target_kind text, given_target_id text, given_address text, given_request_id text, given_outcome text,
  given_code text, given_count integer, given_details text) returns bigint
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
as $$
declare
  own uuid := public.current_environment();
  head public.audit_heads;
  entry public.audit_entries;
begin
  if own is null then
    raise exception 'no environment is set';
  end if;
  insert into public.audit_heads (environment_id, sequence, hash) values (own, 0, decode(repeat('00', 32), 'hex'))
    on conflict (environment_id) do nothing;
  select * into head from public.audit_heads where environment_id = own for update;
  entry.environment_id := own;
  entry.sequence := head.sequence + 1;
  entry.occurred_at := date_trunc('milliseconds', clock_timestamp());
  entry.actor_kind := given_actor_kind;
  entry.actor_id := given_actor_id;
  entry.action := given_action;
  entry.target_kind := given_target_kind;
  entry.target_id := given_target_id;
  entry.address := given_address;
  entry.request_id := given_request_id;
  entry.outcome := given_outcome;
  entry.code := given_code;
  entry.count := given_count;
  entry.details := given_details::json;
  entry.previous_hash := head.hash;
  entry.hash := sha256(convert_to(public.audit_entry_text(entry), 'UTF8'));
  insert into public.audit_entries select (entry).*;
  update public.audit_heads set sequence = entry.sequence, hash = entry.hash where environment_id = own;
  return entry.sequence;
end
$$;

-- With everything else of an environment that is erased; of nothing less.
create function erase_audit_entries(given_environment uuid) returns void
  language sql security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  delete from public.audit_entries where environment_id = given_environment;
  delete from public.audit_heads where environment_id = given_environment;
$$;

revoke execute on function audit_entry_text(audit_entries), erase_audit_entries(uuid),
  append_audit_entry(text, text, text, text, text, text, text, text, text, integer, text) from public;
grant execute on function
  append_audit_entry(text, text, text, text, text, text, text, text, text, integer, text)
  to ironflow_tenant, ironflow_service;
grant execute on function erase_audit_entries(uuid) to ironflow_service;

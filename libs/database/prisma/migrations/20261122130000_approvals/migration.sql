-- One-time links by which an approval of a run is decided, by the keyed hash of their tokens. They go once their run has ended.
create table approval_links (
  token_hash bytea primary key,
  environment_id uuid not null,
  run_id uuid not null,
  -- Of the approval.
  name text not null,
  created_at timestamptz not null default now()
);
create index approval_links_run on approval_links (run_id);

alter table approval_links enable row level security;
alter table approval_links force row level security;
create policy across_environments on approval_links to ironflow_service using (true) with check (true);
create policy own_environment on approval_links to ironflow_tenant
  using (environment_id = current_environment()) with check (environment_id = current_environment());
grant select, insert, delete on approval_links to ironflow_service;
grant select, insert on approval_links to ironflow_tenant;

-- Whose approval a link decides, before any environment is known: answers one link by its hash and nothing else.
create policy owner_finds_link on approval_links for select to ironflow_owner using (true);
create function find_approval_link(given_hash bytea)
  returns table (environment_id uuid, project text, env text, run_id uuid, name text)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
as $$
  select e.id, e.project, e.name, l.run_id, l.name
  from public.approval_links l join public.environments e on e.id = l.environment_id
  where l.token_hash = given_hash
$$;

-- The only way in which a tenant decides: under the run's row lock, so that of two one decides, and none for a run that ends.
-- A decision is a signal of a name that no other may have. Sent a second time by the same id it changes nothing.
create policy owner_sees_wait on waits for select to ironflow_owner using (environment_id = current_environment());
create policy owner_sees_step on steps for select to ironflow_owner using (environment_id = current_environment());
create function decide_approval(given_run uuid, given_id uuid, given_name text, given_signal text, given_data text)
  returns text
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
as $$
declare
  environment uuid := public.current_environment();
  run_status text;
  name_of_id text;
begin
  select status into run_status from public.runs where environment_id = environment and id = given_run for update;
  if run_status is null then
    return 'not_found';
  end if;
  select name into name_of_id from public.signals where run_id = given_run and id = given_id;
  if name_of_id is not null then
    return case name_of_id when given_signal then 'decided' else 'id_reused' end;
  end if;
  if run_status not in ('queued', 'running', 'waiting', 'waiting_for_worker') then
    return 'ended';
  end if;
  if exists (select from public.signals where run_id = given_run and name = given_signal) then
    return 'decided_before';
  end if;
  if not exists (select from public.waits where run_id = given_run and kind = 'signal' and name = given_signal) then
    if exists (select from public.steps where environment_id = environment and run_id = given_run
        and step_id = given_name and type = 'wait_for_signal' and status <> 'waiting') then
      return 'expired';
    end if;
    if not exists (select from public.approval_links where environment_id = environment and run_id = given_run
        and name = given_name) then
      return 'unknown';
    end if;
  end if;
  insert into public.signals (run_id, id, environment_id, name, data)
    values (given_run, given_id, environment, given_signal, given_data::json);
  return 'decided';
end $$;
revoke execute on function find_approval_link(bytea), decide_approval(uuid, uuid, text, text, text) from public;
grant execute on function find_approval_link(bytea), decide_approval(uuid, uuid, text, text, text)
  to ironflow_tenant, ironflow_service;

-- JSON documents that an environment's functions are configured by.
create table config_documents (
  environment_id uuid not null references environments (id),
  name text not null,
  revision bigint not null check (revision > 0),
  data json not null,
  updated_at timestamptz not null default now(),
  -- A deleted one stays for a while, so that one made again under its name has a later revision and whoever watches sees it.
  deleted_at timestamptz,
  primary key (environment_id, name)
);

alter table config_documents enable row level security;
alter table config_documents force row level security;
create policy across_environments on config_documents to ironflow_service using (true) with check (true);
create policy own_environment on config_documents to ironflow_tenant
  using (environment_id = current_environment()) with check (environment_id = current_environment());
grant select, insert, update, delete on config_documents to ironflow_service, ironflow_tenant;

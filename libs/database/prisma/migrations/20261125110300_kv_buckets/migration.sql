-- What the key-value buckets of tenants are set to. Their values are in NATS alone.
create table kv_buckets (
  environment_id uuid not null references environments (id),
  name text not null,
  ttl_seconds integer,
  history integer not null,
  max_bytes bigint not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (environment_id, name)
);

alter table kv_buckets enable row level security;
alter table kv_buckets force row level security;
create policy across_environments on kv_buckets to ironflow_service using (true) with check (true);
create policy own_environment on kv_buckets to ironflow_tenant
  using (environment_id = current_environment()) with check (environment_id = current_environment());
grant select, insert, update, delete on kv_buckets to ironflow_service, ironflow_tenant;

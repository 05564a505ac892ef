-- A run that failed leaves a letter too. It names the run instead of repeating what its rows have.
alter table dead_letters
  add column run_id uuid,
  add column replayed_at timestamptz,
  alter column subject drop not null,
  alter column payload drop not null,
  add constraint dead_letters_run_or_message check (
    run_id is not null or (subject is not null and payload is not null));
-- Letters are kept for a while: the oldest go first.
create index dead_letters_occurred on dead_letters (occurred_at);

-- What a tenant may change of its letters is this and nothing else.
grant delete, update (replayed_at) on dead_letters to ironflow_tenant;

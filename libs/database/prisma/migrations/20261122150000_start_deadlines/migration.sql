-- A run that had not begun when it was to: its timer came first. Once it has begun it means nothing.
alter table runs add column start_expired_at timestamptz;

-- An event may be for one function alone, whatever the triggers say, and may ask for a run of it to be repeated, from the
-- beginning or from one of its steps. Nullable and without an index: rows of ordinary events and runs stay as they are.
alter table events
  add column function_id text,
  add column rerun_of uuid,
  add column rerun_from_step text;
alter table runs add column rerun_of uuid;

-- Whose function's breaker they wait for, so that they can be woken as it closes. Only they are in it, and none of its columns
-- moves with a batch of the journal.
create index runs_circuit_open on runs (environment_id, function_id, id)
  where status = 'waiting' and deferred_reason = 'circuit_open';

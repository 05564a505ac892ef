-- Activations of a function at once, as its environment has it and not its code: it outlives registrations.
alter table functions add column concurrency_limit integer check (concurrency_limit > 0);

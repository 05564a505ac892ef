-- Activations of an environment at once. Part of its registry, whose version is raised when it changes.
alter table environment_quotas add column concurrency integer check (concurrency > 0);

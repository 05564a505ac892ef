-- Of a flood: its activations go by the lane of their environment, in nobody else's way. For good, so that two that say the same
-- are never on different ways.
alter table runs add column bulk boolean not null default false;

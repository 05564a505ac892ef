-- When the next lane may go on, without a look at all of them.
create index queue_lanes_due on queue_lanes (environment_id, ready_at) where blocked_by is null;

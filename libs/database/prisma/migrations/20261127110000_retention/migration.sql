-- Retention: months that are old enough go whole, as partitions; rows of environments with an age of their own go by themselves.

-- For how many days an environment keeps events, and runs once they have ended. Null: as the installation does.
alter table environments add column retention_days integer check (retention_days > 0);
grant update (retention_days) on environments to ironflow_tenant;

-- A letter keeps its run until it is replayed, and then goes with it.
create index dead_letters_run on dead_letters (run_id) where run_id is not null;

-- Takes one partitioned table from everybody until the transaction ends, to drop a month of it: `missing`, `busy` or `locked`. Waiting
-- for a lock queues everybody behind it, so it gives up soon. Of runs it answers `live` if one of the month lives: a new one is in one of
-- these two indexes, or has a timer, a wait or a queue entry. Nobody else may read a partition by itself.
create function lock_month(given_parent text, given_month text) returns text
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
  set lock_timeout = '100ms'
as $$
declare
  parent regclass := to_regclass(format('public.%I', given_parent));
  partition regclass := to_regclass(format('public.%I', given_parent || '_m' || given_month));
  is_live boolean := false;
begin
  if not exists (select from pg_inherits where inhrelid = partition and inhparent = parent) then
    return 'missing';
  end if;
  begin
    execute format('lock table only %s in access exclusive mode', parent);
  exception when lock_not_available then
    return 'busy';
  end;
  if given_parent = 'runs' then
    execute format('select exists (select from %1$s where wake > served and status in (''queued'', ''running'', ''waiting''))
      or exists (select from %1$s where status = ''waiting_for_worker'')', partition) into is_live;
  end if;
  return case when is_live then 'live' else 'locked' end;
end $$;

-- What lock_month has locked. Of a month that is not over for a day it drops nothing, whatever it is told.
create function drop_month(given_parent text, given_month text) returns void
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
  set timezone = 'UTC'
  set lock_timeout = '100ms'
as $$
declare
  parent regclass := to_regclass(format('public.%I', given_parent));
  partition regclass := to_regclass(format('public.%I', given_parent || '_m' || given_month));
begin
  if not exists (select from pg_inherits where inhrelid = partition and inhparent = parent)
    or to_timestamp(given_month, 'YYYYMM') + interval '1 month' > now() - interval '1 day' then
    raise exception '% has no month % that could go', given_parent, given_month;
  end if;
  execute format('drop table %s', partition);
end $$;

-- Drops a month of one of the partitioned tables: `dropped`, `missing`, `busy`, or `needed`. Whether it is needed was asked before, at
-- leisure; what may have come since (an event under an id of that month, of a schedule's past time) is asked again under the lock, by keys
-- alone. Runs go first: steps and whatever else is a run's, and events, stay as long as there is one of the month.
create function retire_month(given_parent text, given_month text) returns text
  language plpgsql
  set search_path = pg_catalog, public, pg_temp
  set timezone = 'UTC'
as $$
declare
  lowest uuid := lowest_id_at(to_timestamp(given_month, 'YYYYMM'));
  ending uuid := lowest_id_at(to_timestamp(given_month, 'YYYYMM') + interval '1 month');
  state text := lock_month(given_parent, given_month);
begin
  if state in ('missing', 'busy') then
    return state;
  end if;
  if state = 'live' or exists (select from unrouted_events where event_id >= lowest and event_id < ending) then
    return 'needed';
  end if;
  if given_parent = 'runs' then
    if exists (select from timers where run_id >= lowest and run_id < ending)
      or exists (select from waits where run_id >= lowest and run_id < ending)
      or exists (select from queue_entries where run_id >= lowest and run_id < ending) then
      return 'needed';
    end if;
  elsif exists (select from runs where id >= lowest and id < ending) then
    return 'needed';
  end if;
  perform drop_month(given_parent, given_month);
  return 'dropped';
end $$;

revoke execute on function lock_month(text, text), drop_month(text, text), retire_month(text, text) from public;
grant execute on function lock_month(text, text), drop_month(text, text), retire_month(text, text) to ironflow_service;

/**
 * Timers that are due become wake-ups, in one statement: the timer goes, its step is flipped, its run is
 * woken. A wait that is due goes with its timer: for an event or a signal there was none, and an invoked run took too long.
 *
 * 1. Never early: due is decided by PostgreSQL's clock. Never lost: all of it commits together.
 * 2. The run's row lock covers its timers (the collector adds them under it), so runs are locked first, in
 *    the order of their ids. A run that somebody else holds, or has moved since the statement began, is
 *    skipped: its timers are due still at the next pass.
 * 3. A wait does not end in vain before somebody has looked for what it waits for, nor beside a signal or an ended run that
 *    is there and not taken yet: its timer comes again a moment later, and whoever looks may be quicker.
 * 4. A run whose own retry is not due yet is not woken: its steps are flipped, and the retry finds them so.
 * 5. A run's start deadline wakes it whatever it rests or is put off for, so that it ends; once it has begun, it means nothing.
 */
import type { Failure } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { endedPauseTuple, toEndedPause } from './ended-pause.js';
import type { EndedPause, EndedPauseTuple } from './ended-pause.js';
import { lowestId } from './id-windows.js';
import { laneColumnOf, runToActivate, scopeColumns } from './run-to-activate.js';
import type { RunToActivate, RunToActivateRow } from './run-to-activate.js';

/**
 * In place of a step's id, for the run's start deadline; its retry has the empty one. The attempt is 0, which that of no step with
 * a timer is: one that is called the same takes its place, and its run has begun.
 */
export const startDeadlineTimer = 'start_deadline';

export interface FiredTimers {
  fired: number;
  /** When the next one is due; `undefined` if none is, or if one that is due was passed over. */
  nextDueInMs: number | undefined;
  /** Those that need an activation. */
  woken: RunToActivate[];
  /** Runs with a wait that is due and has to be looked at first. */
  held: string[];
  /** Of those whose runs are traced. */
  ended: EndedPause[];
}

export async function fireTimers(database: Database, limit: number): Promise<FiredTimers> {
  const [row] = await database.query<FiredRow>(fireStatement, [limit, invokeTimedOut, startDeadlineTimer]);
  const { fired, next_in_ms, woken, held, ended } = row!;
  return {
    fired,
    nextDueInMs: next_in_ms ?? undefined,
    woken: (woken ?? []).map(runToActivate),
    held: held ?? [],
    ended: (ended ?? []).map(toEndedPause),
  };
}

/** Of those that were put off for the breaker of a function, by their ids. */
export interface CircuitWaitsQuery {
  environmentId: string;
  functionId: string;
  after: string | undefined;
  limit: number;
}

/** Their timers are due now; answers the runs that were looked at, those that somebody else holds not among them. */
export async function endCircuitWaits(database: Database, query: CircuitWaitsQuery): Promise<string[]> {
  const { environmentId, functionId, after = lowestId, limit } = query;
  const values = [environmentId, functionId, after, limit];
  const rows = await database.query<{ id: string }>(circuitWaitsStatement, values);
  return rows.map(({ id }) => id);
}

export async function nextDueInMs(database: Database): Promise<number | undefined> {
  const rows = await database.query<{ in_ms: number }>(nextDueStatement, []);
  return rows[0]?.in_ms;
}

interface FiredRow {
  fired: number;
  next_in_ms: number | null;
  woken: RunToActivateRow[] | null;
  held: string[] | null;
  ended: EndedPauseTuple[] | null;
}

const invokeTimedOut = JSON.stringify({
  name: 'InvokeTimeout',
  message: 'the invoked run did not end in time',
} satisfies Failure);

// The runs of due timers are known only within the statement: their bounds come from subqueries, which
// PostgreSQL also uses to leave out partitions. A locked row is as it is now, everything else as it was when the
// statement began: timers of a run that moved in between would not be seen.
const fireStatement: Statement = {
  name: 'fire_timers',
  text: `with due as materialized (
    select run_id from timers where due_at <= now() order by due_at limit $1
  ), locked as materialized (
    select id, traceparent from (
      select id, traceparent, journal_seq,
        (select before.journal_seq from runs before where before.id = r.id) as journal_seq_before
      from runs r
      where id = any(array(select run_id from due))
        and id >= (select run_id from due order by run_id limit 1)
        and id <= (select run_id from due order by run_id desc limit 1)
      order by id for update skip locked
    ) l where journal_seq = journal_seq_before
  ), ending as materialized (
    -- One time for all of it, after the locks were got: what was resolved before them ended before.
    select clock_timestamp() as at from (select count(*) from locked) l
  ), held as (
    update timers t set due_at = now() + interval '100 ms' from waits w
    where t.run_id = any(array(select id from locked)) and t.due_at <= now()
      and w.run_id = t.run_id and w.step_id = t.step_id and (
        not w.looked_back
        or w.kind = 'signal' and exists (
          select from signals s where s.run_id = w.run_id and s.name = w.name and not s.taken)
        or w.kind = 'run' and (select a.status from runs a where a.id = w.awaited_run_id)
          in ('completed', 'failed', 'cancelled', 'skipped'))
    returning t.run_id, t.step_id
  ), fired as (
    delete from timers t where run_id = any(array(select id from locked)) and due_at <= now()
      and not exists (select from held h where h.run_id = t.run_id and h.step_id = t.step_id)
    returning run_id, step_id, attempt
  ), flipped as (
    update steps s set
      status = case when s.status = 'retrying' then 'errored' when s.type = 'invoke' then 'failed'
        else 'completed' end,
      output = case when s.status = 'waiting' and s.type in ('wait_for_event', 'wait_for_signal')
        then 'null'::json else s.output end,
      error = case when s.status = 'waiting' and s.type = 'invoke' then $2::json else s.error end,
      ended_at = case s.status when 'waiting' then (select at from ending) else s.ended_at end
    from fired f
    where s.run_id = any(array(select id from locked))
      and s.run_id >= (select id from locked order by id limit 1)
      and s.run_id <= (select id from locked order by id desc limit 1)
      and s.run_id = f.run_id and s.step_id = f.step_id and s.attempt = f.attempt
      and s.status in ('waiting', 'retrying')
    returning s.run_id, s.step_id, s.name, s.type, s.attempt, s.status, s.started_at, s.due_at
  ), unanswered as (
    delete from waits w using fired f
    where w.run_id = any(array(select id from locked)) and w.run_id = f.run_id and w.step_id = f.step_id
  ), expired as (
    update runs r set
      start_expired_at = date_trunc('milliseconds', now()),
      wake = r.wake + 1,
      woken_at = date_trunc('milliseconds', now()),
      status = 'queued'
    where r.id = any(array(select run_id from fired where step_id = $3 and attempt = 0))
      and r.id >= (select id from locked order by id limit 1)
      and r.id <= (select id from locked order by id desc limit 1)
      and r.started_at is null and r.status in ('queued', 'waiting', 'waiting_for_worker')
    returning r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, r.status, ${laneColumnOf('r')}
  ), woken as (
    update runs r set
      wake = r.wake + 1,
      woken_at = date_trunc('milliseconds', now()),
      status = case r.status when 'waiting' then 'queued' else r.status end
    where r.id = any(array(select run_id from fired where step_id <> $3 or attempt > 0))
      and r.id >= (select id from locked order by id limit 1)
      and r.id <= (select id from locked order by id desc limit 1)
      and r.status in ('queued', 'running', 'waiting', 'waiting_for_worker')
      and r.id <> all(array(select id from expired))
      and (select t.due_at from timers t where t.run_id = r.id and t.step_id = '' and t.due_at > now()) is null
    returning r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, r.status, ${laneColumnOf('r')}
  )
  select (select count(*)::int from fired) as fired,
    case when (select count(*) from fired) >= (select count(*) from due) then (
      select (extract(epoch from due_at - clock_timestamp()) * 1000)::float8
      from timers where due_at > now() order by due_at limit 1
    ) end as next_in_ms,
    (select json_agg(distinct run_id) from held) as held,
    (select json_agg(w) from (
      select w.id, w.environment_id, w.mode, w.app_id, w.function_id, w.event_id, w.build_id, w.limited, w.bulk, ${scopeColumns}
      from (select * from woken union all select * from expired) w join environments e on e.id = w.environment_id
      where w.status <> 'waiting_for_worker'
    ) w) as woken,
    (select json_agg(${endedPauseTuple({ traceparent: 'l.traceparent', endedAt: 'f.due_at' })})
      from flipped f join locked l on l.id = f.run_id
      where f.status <> 'errored' and l.traceparent is not null
    ) as ended`,
};

// A run's retry has the step id ''. Later than now: one that is due is on its way already.
const circuitWaitsStatement: Statement = {
  name: 'end_circuit_waits',
  text: `with waiting as materialized (
    select id from runs
    where environment_id = $1 and function_id = $2 and status = 'waiting' and deferred_reason = 'circuit_open'
      and deferred_seq = journal_seq and id > $3
    order by id limit $4 for update skip locked
  ), due as (
    update timers set due_at = now() where run_id = any(array(select id from waiting)) and step_id = '' and due_at > now()
  )
  select id from waiting order by id`,
};

const nextDueStatement: Statement = {
  name: 'next_due',
  text: `select (extract(epoch from due_at - clock_timestamp()) * 1000)::float8 as in_ms
    from timers order by due_at limit 1`,
};

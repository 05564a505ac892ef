/**
 * Runs that an event may stop, and those that were asked to stop, or are too late to begin, and that nobody drives: found,
 * asked, and ended where they are.
 */
import { startDeadline } from '@ironflow/schema';
import type { StoredEvent } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { boundsOf, lowestId } from './id-windows.js';
import { laneColumnOf, runToActivate, scopeColumns } from './run-to-activate.js';
import type { RunToActivate, RunToActivateRow } from './run-to-activate.js';
import { storedEventColumns, toStoredEvent } from './stored-event.js';
import type { StoredEventRow } from './stored-event.js';

export interface StoppingRun {
  runId: string;
  journalSeq: number;
  wake: number;
  served: number;
}

export interface StoppedRun {
  status: 'cancelled' | 'skipped';
  /** The runs that wait for it. */
  awaitedBy: string[];
  /** Slots that it gave back. */
  freed: string[];
}

export interface RunsToCancelQuery {
  event: StoredEvent;
  functionId: string;
  /** The last one of the page before. */
  afterRunId: string | undefined;
  limit: number;
}

export interface RunToCancel {
  runId: string;
  /** The event that started it. */
  trigger: StoredEvent;
}

/** Runs of the function that have not ended and that nobody has asked to stop, the oldest first. */
export async function runsToCancel(database: Database, query: RunsToCancelQuery): Promise<RunToCancel[]> {
  const { event, functionId, afterRunId, limit } = query;
  const { environmentId } = event.scope;
  const values = [environmentId, functionId, afterRunId ?? lowestId, limit];
  const rows = await database.query<StoredEventRow & { run_id: string }>(runsToCancelStatement, values);
  return rows.map((row) => ({ runId: row.run_id, trigger: toStoredEvent(row) }));
}

/** Answers those that nobody had asked before. */
export async function requestStopOf(database: Database, runIds: readonly string[]): Promise<RunToActivate[]> {
  if (runIds.length === 0) return [];
  const { lowest, highest } = boundsOf(runIds);
  const rows = await database.query<RunToActivateRow>(requestStopStatement, [runIds, lowest, highest]);
  return rows.map(runToActivate);
}

/** Without those that have something to undo: they need whoever drives them. */
export async function stoppingRuns(database: Database, runIds: readonly string[]): Promise<StoppingRun[]> {
  const { lowest, highest } = boundsOf(runIds);
  const rows = await database.query<StoppingRow>(stoppingStatement, [runIds, lowest, highest]);
  return rows.map((row) => ({
    runId: row.id,
    journalSeq: row.journal_seq,
    wake: row.wake,
    served: row.served,
  }));
}

export async function endStopped(
  database: Database,
  runs: readonly Pick<StoppingRun, 'runId' | 'journalSeq'>[],
): Promise<Map<string, StoppedRun>> {
  if (runs.length === 0) return new Map();
  const runIds = runs.map(({ runId }) => runId);
  const { lowest, highest } = boundsOf(runIds);
  const sequences = runs.map(({ journalSeq }) => journalSeq);
  const values = [runIds, lowest, highest, sequences];
  const rows = await database.query<EndedRow>(endStoppedStatement, values);
  return new Map(
    rows.map((row) => [
      row.id,
      { status: row.status, awaitedBy: row.awaited_by ?? [], freed: row.freed ?? [] },
    ]),
  );
}

// An index lookup for each run, whatever the planner thinks: as a join it could read all of steps.
export const hasCompensations = `(
        select true from steps where steps.run_id = runs.id and steps.type = 'compensate' limit 1) is not null`;

/** Not once it has begun, whichever was known first. */
export const startExpired = 'start_expired_at is not null and started_at is null';

// One that runs, as far as is known, may be with a worker that only leaves: it is left alone for longer than a delivery
// goes without a sign of life.
const stoppingStatement: Statement = {
  name: 'stopping_runs',
  text: `select id, journal_seq::float8 as journal_seq, wake, served from runs
    where id = any($1::uuid[]) and id >= $2 and id <= $3
      and (stop_requested_at is not null or ${startExpired})
      and (status in ('queued', 'waiting', 'waiting_for_worker')
        or status = 'running' and stop_requested_at < now() - interval '15 seconds')
      and not (${hasCompensations})`,
};

// From status to status there is an index of the environment's runs, whatever has ended.
const runsToCancelStatement: Statement = {
  name: 'runs_to_cancel',
  text: `select r.id as run_id, v.*, ${scopeColumns}
    from unnest(array['queued', 'running', 'waiting', 'waiting_for_worker']) as live (status)
    cross join lateral (
      select id, event_id from runs
      where environment_id = $1 and runs.status = live.status and function_id = $2 and id > $3
        and stop_requested_at is null and stopping_as is null
      order by id limit $4
    ) r
    cross join lateral (select ${storedEventColumns} from events where events.id = r.event_id offset 0) v
    join environments e on e.id = $1
    order by r.id limit $4`,
};

const requestStopStatement: Statement = {
  name: 'request_stop_of',
  text: `with locked as materialized (
    select id from runs where id = any($1::uuid[]) and id >= $2 and id <= $3 order by id for update
  ), asked as (
    update runs r set
      stop_requested_at = date_trunc('milliseconds', now()),
      wake = wake + 1,
      woken_at = date_trunc('milliseconds', now()),
      status = case when r.status in ('waiting', 'waiting_for_worker') then 'queued' else r.status end
    from locked l
    where r.id = l.id and r.id = any($1::uuid[]) and r.id >= $2 and r.id <= $3 and r.stop_requested_at is null
      and r.stopping_as is null
      and r.status in ('queued', 'running', 'waiting', 'waiting_for_worker')
    returning r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, ${laneColumnOf('r')}
  )
  select r.*, ${scopeColumns} from asked r join environments e on e.id = r.environment_id`,
};

const endStoppedStatement: Statement = {
  name: 'end_stopped',
  text: `with given as (
    select * from unnest($1::uuid[], $4::bigint[]) as g (id, journal_seq)
  ), locked as materialized (
    select id, journal_seq from runs
    where id = any($1::uuid[]) and id >= $2 and id <= $3
      and status in ('queued', 'running', 'waiting', 'waiting_for_worker')
    order by id for update
  ), ended as (
    update runs r set
      status = case when r.stop_requested_at is null then 'skipped' else 'cancelled' end,
      skip_reason = case when r.stop_requested_at is null then '${startDeadline}' end,
      ended_at = date_trunc('milliseconds', now())
    from locked l join given g on g.id = l.id and g.journal_seq = l.journal_seq
    where r.id = l.id and r.id = any($1::uuid[]) and r.id >= $2 and r.id <= $3
    returning r.id, r.status, r.limited
  ), left_queue as (
    delete from queue_entries where run_id = any(array(select id from ended where limited))
  ), freed as (
    delete from slots where run_id = any(array(select id from ended where limited)) returning run_id, slot
  ), disarmed as (
    delete from timers where run_id = any(array(select id from ended))
  ), unanswered as (
    delete from waits where run_id = any(array(select id from ended))
  ), untaken as (
    delete from signals where run_id = any(array(select id from ended))
  )
  select id, status, (
      select array_agg(run_id) from waits where kind = 'run' and awaited_run_id = ended.id
    ) as awaited_by,
    case when limited then (select array_agg(slot) from freed where freed.run_id = ended.id) end as freed from ended`,
};

interface EndedRow {
  id: string;
  status: StoppedRun['status'];
  awaited_by: string[] | null;
  freed: string[] | null;
}

interface StoppingRow {
  id: string;
  journal_seq: number;
  wake: number;
  served: number;
}

/** Runs that were asked to stop and that nobody drives: found, and ended where they are. */
import type { Database, Statement } from './database.js';
import { boundsOf } from './id-windows.js';

export interface StoppingRun {
  runId: string;
  journalSeq: number;
  wake: number;
  served: number;
}

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
): Promise<string[]> {
  if (runs.length === 0) return [];
  const runIds = runs.map(({ runId }) => runId);
  const { lowest, highest } = boundsOf(runIds);
  const sequences = runs.map(({ journalSeq }) => journalSeq);
  const values = [runIds, lowest, highest, sequences];
  const rows = await database.query<{ id: string }>(endStoppedStatement, values);
  return rows.map((row) => row.id);
}

// One that runs, as far as is known, may be with a worker that only leaves: it is left alone for longer than a delivery
// goes without a sign of life.
const stoppingStatement: Statement = {
  name: 'stopping_runs',
  text: `select id, journal_seq::float8 as journal_seq, wake, served from runs
    where id = any($1::uuid[]) and id >= $2 and id <= $3 and stop_requested_at is not null
      and (status in ('queued', 'waiting', 'waiting_for_worker')
        or status = 'running' and stop_requested_at < now() - interval '15 seconds')`,
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
    update runs r set status = 'cancelled', ended_at = date_trunc('milliseconds', now())
    from locked l join given g on g.id = l.id and g.journal_seq = l.journal_seq
    where r.id = l.id and r.id = any($1::uuid[]) and r.id >= $2 and r.id <= $3
    returning r.id
  ), disarmed as (
    delete from timers where run_id = any(array(select id from ended))
  ), unanswered as (
    delete from waits where run_id = any(array(select id from ended))
  ), untaken as (
    delete from signals where run_id = any(array(select id from ended))
  )
  select id from ended`,
};

interface StoppingRow {
  id: string;
  journal_seq: number;
  wake: number;
  served: number;
}

/**
 * Repeating a run that has ended: what of it is read before, and how the steps that settled before one of them are taken
 * over.
 *
 * 1. A run that has ended changes no more, so that what is read now is what its repetition is given later.
 * 2. Steps are taken over by the statement that inserts the new run: it is never there without them.
 */
import type { RunStatus } from '@ironflow/schema';
import type { Database, Statement } from './database.js';

export interface RunToRepeat {
  id: string;
  functionId: string;
  status: RunStatus;
  /** Whether it has a step of the id that was asked for. */
  hasStep: boolean;
  event: {
    id: string;
    name: string;
    /** JSON text, as it came. */
    data: string;
    version?: string;
    correlationId: string;
  };
}

export interface RunToRepeatQuery {
  environmentId: string;
  runId: string;
  stepId?: string | undefined;
}

export async function readRunToRepeat(
  database: Database,
  { environmentId, runId, stepId }: RunToRepeatQuery,
): Promise<RunToRepeat | undefined> {
  const [row] = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query<RunToRepeatRow>(runToRepeatStatement, [environmentId, runId, stepId ?? null]),
  );
  if (row === undefined) return undefined;
  return {
    id: row.id,
    functionId: row.function_id,
    status: row.status,
    hasStep: row.has_step,
    event: {
      id: row.event_id,
      name: row.name,
      data: row.data,
      ...(row.version === null ? {} : { version: row.version }),
      correlationId: row.correlation_id,
    },
  };
}

interface RunToRepeatRow {
  id: string;
  function_id: string;
  status: RunStatus;
  has_step: boolean;
  event_id: string;
  name: string;
  data: string;
  version: string | null;
  correlation_id: string;
}

const runToRepeatStatement: Statement = {
  name: 'run_to_repeat',
  text: `select r.id, r.function_id, r.status, e.id as event_id, e.name, e.data::text, e.version, e.correlation_id,
      exists (select from steps s where s.run_id = r.id and s.step_id = $3 and s.environment_id = $1
        and s.type <> 'compensate') as has_step
    from runs r join events e on e.id = r.event_id and e.environment_id = r.environment_id
    where r.environment_id = $1 and r.id = $2`,
};

/**
 * Of `repeating (id, environment_id, rerun_of, from_step)`: what its run takes over. The places are those that a replay
 * gives (readMemo in the SDK): a step that was recorded with one has it, and a sleep that a timer ended fills the next that
 * no step has, so that the clocks of workers and of Postgres are never compared. Before a step that never settled, all
 * others did. What the old run has undone is undone, and what it had registered its repetition registers itself.
 */
export const takenOverSteps = `select r.id as run_id, s.step_id, s.attempt, r.environment_id, s.name, s.type, s.status,
    s.output, s.error, s.started_at, s.ended_at, s.due_at, s.settle_order
  from repeating r
  cross join lateral (
    select *, max(place) filter (where step_id = r.from_step) over () as place_of_first
    from (
      select *, row_number() over (order by coalesce(settle_order - rank, rank), settle_order is null, settle_order)
        as place
      from (
        select *, row_number() over (
            partition by settle_order is null order by settle_order, ended_at, due_at, step_id) - 1 as rank
        from steps where run_id = r.rerun_of and environment_id = r.environment_id
          and status in ('completed', 'failed') and type <> 'compensate'
        offset 0
      ) ranked
    ) placed
  ) s
  where s.place_of_first is null or s.place < s.place_of_first`;

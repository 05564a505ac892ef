/** Runs that a filter finds are asked to stop: those under way that nobody has asked yet, the newest first. */
import type { CancelRunsBody, RunMode } from '@ironflow/schema';
import type { Queryable, Statement } from './database.js';
import { pageWindow } from './page.js';
import { laneColumnOf } from './run-to-activate.js';

/** As whoever drives the run is told. */
export interface RunToStop {
  runId: string;
  mode: RunMode;
  appId: string;
  buildId?: string;
  bulk?: true;
  functionId: string;
  eventId: string;
}

type Filter = Omit<CancelRunsBody, 'dryRun'>;

/** At most `limit`, and whether there are more. */
export async function requestStops(
  transaction: Queryable,
  environmentId: string,
  filter: Filter,
): Promise<{ runs: RunToStop[]; isComplete: boolean }> {
  const { condition, values } = conditionOf(environmentId, filter);
  const found = await transaction.query<RunRow>(
    {
      name: 'runs_to_stop',
      text: `select id, mode, app_id, function_id, event_id, ${laneColumnOf('runs')} from runs where ${condition}
        order by id desc limit $7`,
    },
    [...values, filter.limit + 1],
  );
  const runs = found.slice(0, filter.limit).map(toRunToStop);
  await transaction.query(stopAllStatement, [runs.map(({ runId }) => runId)]);
  return { runs, isComplete: found.length <= filter.limit };
}

/** Up to `max`. */
export async function countRunsToStop(
  transaction: Queryable,
  environmentId: string,
  { filter, max }: { filter: Filter; max: number },
): Promise<number> {
  const { condition, values } = conditionOf(environmentId, filter);
  const [row] = await transaction.query<{ count: number }>(
    {
      name: 'count_runs_to_stop',
      text: `select count(*)::int as count from (
        select from runs where ${condition} limit $7) r`,
    },
    [...values, max],
  );
  return row!.count;
}

// In the order of their ids, as everybody locks runs.
const stopAllStatement: Statement = {
  name: 'request_stops',
  text: 'select request_stop(id) from (select unnest($1::uuid[]) as id order by id) r',
};

const liveStatuses = ['queued', 'running', 'waiting', 'waiting_for_worker'];

function conditionOf(environmentId: string, filter: Filter): { condition: string; values: unknown[] } {
  const { lowest, end } = pageWindow(filter);
  const statuses = filter.status === undefined ? liveStatuses : [filter.status];
  return {
    condition: `environment_id = $1 and status = any($2) and id >= $3 and id < $4 and stop_requested_at is null
      and stopping_as is null
      and ($5::text is null or function_id = $5) and ($6::text is null or correlation_id = $6)`,
    values: [environmentId, statuses, lowest, end, filter.function ?? null, filter.correlation ?? null],
  };
}

interface RunRow {
  id: string;
  mode: RunMode;
  app_id: string;
  function_id: string;
  event_id: string;
  build_id: string | null;
  bulk: boolean;
}

function toRunToStop(row: RunRow): RunToStop {
  const { id: runId, mode, app_id: appId, function_id: functionId, event_id: eventId } = row;
  return {
    ...{ runId, mode, appId, functionId, eventId },
    ...(row.build_id === null ? {} : { buildId: row.build_id }),
    ...(row.bulk ? { bulk: true } : {}),
  };
}

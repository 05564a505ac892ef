/** What a run of flow control waits for, by its entry in the queue and the lane that this is in. Pure. */
import { parseObstacle } from '@ironflow/schema';
import type { FlowKeys, FlowRule, WaitingFor } from '@ironflow/schema';

export interface QueuedRow {
  state: 'arrived' | 'held' | 'queued' | 'admitted' | 'resting';
  keys: FlowKeys;
  resumed: boolean;
  receivedAtMs: number;
  dueAtMs: number | null;
  blockedBy: string | null;
  readyAtMs: number | null;
  throttle: string | null;
  nowMs: number;
}

/** Of a run `r`, as JSON; null for one that is in no queue. */
export const queuedColumn = (
  run: string,
): string => `case when ${run}.limited and ${run}.ended_at is null then (
    select json_build_object('state', q.state, 'keys', q.keys, 'resumed', q.resumed,
      'receivedAtMs', ${msOf('q.received_at')}, 'dueAtMs', ${msOf('q.due_at')}, 'blockedBy', l.blocked_by,
      'readyAtMs', ${msOf('l.ready_at')}, 'throttle', l.throttle, 'nowMs', ${msOf('now()')})
    from queue_entries q left join queue_lanes l on l.environment_id = q.environment_id and l.lane = q.lane
    where q.run_id = ${run}.id and q.environment_id = $1) end as queued`;

export function msOf(column: string): string {
  return `floor(extract(epoch from ${column}) * 1000)::float8`;
}

export function waitingFor(row: QueuedRow): WaitingFor | undefined {
  const obstacle = obstacleOf(row);
  if (obstacle === undefined) return undefined;
  const { rule, key = '', untilMs } = obstacle;
  return {
    rule,
    ...(key === '' ? {} : { key }),
    ...(untilMs === undefined ? {} : { until: new Date(untilMs).toISOString() }),
    ...(row.resumed ? {} : { since: new Date(row.receivedAtMs).toISOString() }),
  };
}

interface Obstacle {
  rule: FlowRule;
  key?: string | undefined;
  untilMs?: number;
}

function obstacleOf({ state, keys, dueAtMs, ...lane }: QueuedRow): Obstacle | undefined {
  if (state === 'held') {
    const rule = keys.debounce === undefined ? 'batch' : 'debounce';
    return { rule, key: keys[rule], ...(dueAtMs === null ? {} : { untilMs: dueAtMs }) };
  }
  return state === 'queued' ? obstacleOfLane(lane) : undefined;
}

/** Nothing of those that are about to be let go. */
export function obstacleOfLane({
  blockedBy,
  readyAtMs,
  throttle,
  nowMs,
}: Pick<QueuedRow, 'blockedBy' | 'readyAtMs' | 'throttle' | 'nowMs'>): Obstacle | undefined {
  const named = blockedBy === null ? undefined : parseObstacle(blockedBy);
  if (named !== undefined) return { rule: named.rule, ...('key' in named ? { key: named.key } : {}) };
  if (blockedBy !== null || throttle === null || readyAtMs === null || readyAtMs <= nowMs) return undefined;
  return { rule: 'throttle', key: throttle, untilMs: readyAtMs };
}

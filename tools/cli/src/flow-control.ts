/** A function's flow control, its queue and what a run waits for, in words. Pure. */
import { limits } from '@ironflow/schema';
import type { FlowControl, Rate } from '@ironflow/schema';
import type { FunctionResource, Queue, QueueSummary, WaitingFor } from '@ironflow/sdk';
import { formatDuration } from './timeline.js';

/** A line for each rule, in the order in which they apply. */
export function describeFlowControl(config: FlowControl): string[] {
  const { idempotency, rateLimit, debounce, batch, singleton, throttle, concurrency = [], priority } = config;
  return [
    ...(idempotency === undefined ? [] : [`once in 24 h by ${idempotency}`]),
    ...(rateLimit === undefined ? [] : [`rate limit ${describeRate(rateLimit)}`]),
    ...(debounce === undefined
      ? []
      : [
          `debounce ${formatDuration(debounce.periodMs)}` +
            (debounce.timeoutMs === undefined ? '' : `, at most ${formatDuration(debounce.timeoutMs)}`) +
            by(debounce.key),
        ]),
    ...(batch === undefined
      ? []
      : [`batch of ${batch.maxSize} or after ${formatDuration(batch.timeoutMs)}${by(batch.key)}`]),
    ...(singleton === undefined ? [] : [`singleton, ${singleton.mode}${by(singleton.key)}`]),
    ...(throttle === undefined ? [] : [`throttle ${describeRate(throttle)}`]),
    ...concurrency.map(
      ({ limit, scope, key }) =>
        `concurrency ${limit}${scope === 'env' ? ' in the environment' : ''}${by(key)}`,
    ),
    ...(priority === undefined ? [] : [`priority ${priority}`]),
  ];
}

function describeRate({ limit, periodMs, burst, key }: Rate): string {
  return `${limit} per ${formatDuration(periodMs)}${burst === 1 ? '' : `, burst ${burst}`}${by(key)}`;
}

function by(key: string | undefined): string {
  return key === undefined ? '' : ` by ${key}`;
}

export function describeStatus({ status, pausedAt }: FunctionResource): string {
  return pausedAt === undefined ? status : `${status}, paused since ${pausedAt}`;
}

export function describeWaiting({ rule, key, until }: WaitingFor): string {
  return `${rule}${key === undefined ? '' : ` (${key})`}${until === undefined ? '' : ` until ${until}`}`;
}

/** How many wait for what, the most first. */
export function describeCounts({ waiting }: Pick<QueueSummary, 'waiting'>): string {
  const counts = Object.entries(waiting).sort(([, a], [, b]) => b - a);
  if (counts.length === 0) return 'none';
  return counts.map(([rule, runs]) => `${rule} ${describeCount(runs)}`).join(', ');
}

export function describeCount(runs: number): string {
  return runs >= limits.queueCountMax ? `${runs} or more` : String(runs);
}

export function describeSlot({ rule, scope, key, inUse, limit }: Queue['slots'][number]): string {
  const name = `${rule}${scope === 'env' ? ' in the environment' : ''}${key === undefined ? '' : ` (${key})`}`;
  return `${name}: ${inUse}${limit === undefined ? '' : ` of ${limit}`} in use`;
}

/** Work on many at once, no faster than a rate: bulk reruns, replays and backfills of an environment share it. */
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type { Clock } from '@ironflow/service';

export type Pace = <Answer extends { count: number }>(
  environmentId: string,
  events: number,
  work: () => Promise<Answer>,
) => Promise<Answer>;

/** Each may read much of an environment's history, over the connections that events are stored by. */
const underWayMax = 2;

/**
 * Of this process: an environment has one page under way, which takes the time that its events have at the rate; the next one
 * comes after both. `events` is what it may start, none for one that only counts.
 */
export function createPace(clock: Clock): Pace {
  const freeAtMs = new Map<string, number>();
  const underWay = new Set<string>();
  return async (environmentId, events, work) => {
    const nowMs = clock.now();
    const waitMs = events === 0 ? 0 : (freeAtMs.get(environmentId) ?? 0) - nowMs;
    if (waitMs > 0) throw tooFast(waitMs);
    if (underWay.has(environmentId) || underWay.size >= underWayMax) throw tooFast(1_000);
    for (const [other, atMs] of freeAtMs) if (atMs <= nowMs) freeAtMs.delete(other);
    underWay.add(environmentId);
    // What fails may have started all of it.
    let started = events;
    try {
      const answer = await work();
      started = Math.min(events, answer.count);
      return answer;
    } finally {
      underWay.delete(environmentId);
      if (started > 0) {
        freeAtMs.set(environmentId, nowMs + (started / limits.bulkEventsPerSecondMax) * 1_000);
      }
    }
  };
}

function tooFast(waitMs: number): IronflowError {
  const message = `at most ${limits.bulkEventsPerSecondMax} events a second are repeated in an environment`;
  return new IronflowError('too_many', 'bulk_rate_exceeded', message, {
    retryAfterSeconds: Math.ceil(waitMs / 1_000),
  });
}

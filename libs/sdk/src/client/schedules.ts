/** Schedules of the environment: looked at, paused and resumed, and fired by hand. */
import { randomUUID } from 'node:crypto';
import type {
  BackfillAnswer,
  BackfillBody,
  EmitAnswer,
  Schedule,
  SchedulesPage,
  SchedulesQuery,
} from '@ironflow/schema';
import { patiently } from './bulk.js';
import type { Http } from './http.js';

export interface Schedules {
  /** In the order of their ids; each with its next time. */
  list(query?: Partial<SchedulesQuery>): Promise<SchedulesPage>;
  /** With its next 5 times. */
  get(scheduleId: string): Promise<Schedule>;
  /** Fires no time from now on. */
  pause(scheduleId: string): Promise<Schedule>;
  /** Fires what comes from now on; what was paused only by a backfill. */
  resume(scheduleId: string): Promise<Schedule>;
  /** Starts its function now, also while it is paused. The same key within 24 hours starts nothing a second time. */
  trigger(scheduleId: string, options?: { idempotencyKey?: string }): Promise<EmitAnswer>;
  /**
   * Fires the times of a range of the past that were not fired, the oldest first, at the rate that the platform allows; answers when
   * all are stored. What was cut off can be asked for again.
   */
  backfill(scheduleId: string, range: BackfillRange, options?: BackfillOptions): Promise<BackfillResult>;
}

/** Times at or after `from` and before `to`, which is not in the future; at most 10,000 of them. */
export type BackfillRange = Pick<BackfillBody, 'from' | 'to'>;

export interface BackfillOptions {
  /** Only count. */
  dryRun?: boolean;
  signal?: AbortSignal;
}

/** `count` of times that are fired, or would be; `skipped` had been fired before. */
export type BackfillResult = Pick<BackfillAnswer, 'count' | 'skipped'>;

export function createSchedules(http: Http): Schedules {
  const pathOf = (scheduleId: string): `/v1/${string}` => `/v1/schedules/${encodeURIComponent(scheduleId)}`;
  return {
    list: async (query = {}) => http.json({ method: 'GET', path: '/v1/schedules', query }),
    get: async (scheduleId) => http.json({ method: 'GET', path: pathOf(scheduleId) }),
    pause: async (scheduleId) => http.json({ method: 'POST', path: `${pathOf(scheduleId)}/pause` }),
    resume: async (scheduleId) => http.json({ method: 'POST', path: `${pathOf(scheduleId)}/resume` }),
    trigger: async (scheduleId, { idempotencyKey = randomUUID() } = {}) =>
      http.json({
        method: 'POST',
        path: `${pathOf(scheduleId)}/trigger`,
        body: JSON.stringify({ idempotencyKey }),
      }),
    backfill: async (scheduleId, { from, to }, { dryRun = false, signal } = {}) => {
      const result: BackfillResult = { count: 0, skipped: 0 };
      const path = `${pathOf(scheduleId)}/backfill`;
      let cursor: string | undefined;
      do {
        const body = JSON.stringify({ from, to, dryRun, cursor });
        const page = await patiently(() => http.json<BackfillAnswer>({ method: 'POST', path, body, signal }));
        result.count += page.count;
        result.skipped += page.skipped;
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      return result;
    },
  };
}

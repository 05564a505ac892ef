/**
 * Schedules that somebody fires: once, now; or their times of a range of the past, page by page and no faster than the rate of other
 * work on many.
 *
 * 1. A time is fired once, whoever does it: its event's id is the one that cron gives it. A backfill that is cut off is asked for
 *    again, and fires what is left.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ScheduleRecord, ScheduleStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { createTimetables, firingData, firingEventId, timesIn } from '@ironflow/schedule';
import type { Span, Timetable } from '@ironflow/schedule';
import { limits, systemEventNames } from '@ironflow/schema';
import type { BackfillAnswer, BackfillBody, EmitAnswer, FiringCause, Scope } from '@ironflow/schema';
import type { Clock } from '@ironflow/service';
import { requireStorableText } from './emitted-event.js';
import type { PreparedEvent } from './emitted-event.js';
import type { Emit } from './emission.js';
import type { Pace } from './pace.js';

export interface ScheduleFiringsOptions {
  store: Pick<ScheduleStore, 'get' | 'storedAmong'>;
  emit: Emit;
  pace: Pace;
  clock: Clock;
}

export interface TriggerRequest {
  scope: Scope;
  scheduleId: string;
  idempotencyKey?: string | undefined;
  /** Of the caller. */
  traceparent?: string | undefined;
}

export interface ScheduleFirings {
  trigger(request: TriggerRequest): Promise<EmitAnswer>;
  backfill(scope: Scope, scheduleId: string, body: BackfillBody): Promise<BackfillAnswer>;
}

export function createScheduleFirings(options: ScheduleFiringsOptions): ScheduleFirings {
  const { store, emit, pace, clock } = options;
  const timetableOf = createTimetables();

  async function find({ environmentId }: Scope, scheduleId: string): Promise<ScheduleRecord> {
    const schedule = await store.get(environmentId, scheduleId);
    if (schedule !== undefined) return schedule;
    const message = 'there is no schedule of that id in this environment';
    throw new IronflowError('not_found', 'schedule_not_found', message);
  }

  async function count(scope: Scope, schedule: ScheduleRecord, times: number[]): Promise<BackfillAnswer> {
    let fired = 0;
    for (let first = 0; first < times.length; first += lookUpMax) {
      const ids = times.slice(first, first + lookUpMax).map((time) => eventIdOf(scope, schedule, time));
      fired += (await store.storedAmong(scope.environmentId, ids)).size;
    }
    return { count: times.length - fired, skipped: fired };
  }

  async function fire(scope: Scope, schedule: ScheduleRecord, times: number[]): Promise<BackfillAnswer> {
    const byId = new Map(times.map((time) => [eventIdOf(scope, schedule, time), time]));
    const stored = await store.storedAmong(scope.environmentId, [...byId.keys()]);
    const events = [...byId]
      .filter(([id]) => !stored.has(id))
      .map(([id, time]) => ({ id, ...firingEvent(schedule, time, 'backfill') }));
    if (events.length > 0) await emit({ scope, source: 'cron', events });
    return { count: events.length, skipped: stored.size };
  }

  return {
    trigger: async ({ scope, scheduleId, idempotencyKey, traceparent }) => {
      requireStorableText(idempotencyKey, 'idempotencyKey');
      const schedule = await find(scope, scheduleId);
      const event = firingEvent(schedule, clock.now(), 'manual');
      const key = idempotencyKey === undefined ? {} : { idempotencyKey, scheduleId };
      const { ids } = await emit({ scope, source: 'cron', events: [{ ...event, ...key }], traceparent });
      return { ids };
    },
    backfill: async (scope, scheduleId, body) => {
      const { environmentId } = scope;
      const schedule = await find(scope, scheduleId);
      const span = spanOf(body, clock.now());
      const timetable = requireTimetable(timetableOf(schedule.trigger));
      // Each page would count all that is behind it again.
      const isWhole = body.cursor === undefined || body.dryRun;
      const all = isWhole ? await allTimesIn(timetable, span) : [];
      if (body.dryRun) return pace(environmentId, 0, () => count(scope, schedule, all));
      return pace(environmentId, body.limit, async () => {
        const { times, nextMs } = timesIn(timetable, span, body.limit);
        const answer = await fire(scope, schedule, times);
        const isLast = nextMs === undefined || nextMs > span.toMs;
        return isLast ? answer : { ...answer, nextCursor: new Date(times.at(-1)!).toISOString() };
      });
    },
  };
}

/** Events that are looked up by one statement. */
const lookUpMax = 1_000;

/** From the time of the cursor on, which is the last that was fired, or else from the first. */
function spanOf({ from, to, cursor }: BackfillBody, nowMs: number): Span {
  const [fromMs, toMs] = [Date.parse(from), Date.parse(to)];
  if (fromMs >= toMs) throw rangeInvalid('must be after from');
  if (toMs > nowMs) throw rangeInvalid('must not be in the future: those times come by themselves');
  if (cursor === undefined) return { fromMs: fromMs - 1, toMs: toMs - 1 };
  const cursorMs = Date.parse(cursor);
  if (!(cursorMs >= fromMs && cursorMs < toMs)) {
    const rule = 'the cursor must be the `nextCursor` of a page';
    throw new IronflowError('invalid', 'cursor_invalid', rule, { field: 'cursor' });
  }
  return { fromMs: cursorMs, toMs: toMs - 1 };
}

/** Others get their turn in between: times of a schedule are not quick to find. */
async function allTimesIn(timetable: Timetable, span: Span): Promise<number[]> {
  const all: number[] = [];
  for (let fromMs = span.fromMs; ;) {
    const { times, nextMs } = timesIn(timetable, { fromMs, toMs: span.toMs }, turnMax);
    all.push(...times);
    if (nextMs === undefined || nextMs > span.toMs) return all;
    if (all.length >= limits.backfillTimesMax) {
      const rule = `has more than ${limits.backfillTimesMax} times of the schedule before it: give a shorter range`;
      throw new IronflowError('invalid', 'backfill_too_large', rule, { field: 'to' });
    }
    fromMs = times.at(-1)!;
    await nextTurn();
  }
}

const turnMax = 200;

function firingEvent(schedule: ScheduleRecord, scheduledAtMs: number, cause: FiringCause): PreparedEvent {
  return {
    name: systemEventNames.cron(schedule.functionId),
    data: JSON.stringify(firingData(schedule, { scheduledAtMs, cause })),
  };
}

function eventIdOf({ environmentId }: Scope, schedule: ScheduleRecord, timeMs: number): string {
  return firingEventId({ environmentId, ...schedule }, timeMs);
}

function requireTimetable(answer: ReturnType<ReturnType<typeof createTimetables>>): Timetable {
  if (answer.kind === 'valid') return answer.timetable;
  throw new IronflowError('internal', 'schedule_unreadable', 'the schedule cannot be read');
}

function rangeInvalid(rule: string): IronflowError {
  return new IronflowError('invalid', 'backfill_range_invalid', rule, { field: 'to' });
}

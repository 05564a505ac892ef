/**
 * When schedules fire. Pure: the times of a schedule in a span of time, and the id of the event for each, which is the
 * same wherever it is worked out.
 */
import { Cron } from 'croner';
import type { Schedule } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import { deriveFiringEventId } from '@ironflow/schema';
import type { CronTrigger } from '@ironflow/schema';

/** The times of one cron expression in its timezone. */
export interface Timetable {
  /** The first time strictly after; `undefined` if there is none any more. */
  next(afterMs: number): number | undefined;
}

export type TimetableAnswer =
  | { kind: 'valid'; timetable: Timetable }
  /** The expression or the timezone is none. */
  | { kind: 'invalid'; reason: string };

export interface Span {
  /** Exclusive. */
  fromMs: number;
  /** Inclusive. */
  toMs: number;
}

export interface Times {
  /** The first ones of the span, in order, at most `max`. */
  times: number[];
  /** The one that follows them: within the span only if there are more than `max`. */
  nextMs: number | undefined;
}

export function timesIn(timetable: Timetable, span: Span, max: number): Times {
  const times: number[] = [];
  let next = timetable.next(span.fromMs);
  while (next !== undefined && next <= span.toMs && times.length < max) {
    times.push(next);
    next = timetable.next(next);
  }
  return { times, nextMs: next };
}

/** Two triggers of a function that say the same are one schedule. */
export function scheduleKey({ scope, functionId, trigger }: Schedule): string {
  return [scope.environmentId, functionId, trigger.cron, trigger.timezone].join('\n');
}

export function firingEventId(schedule: Schedule, scheduledAtMs: number): string {
  return deriveFiringEventId({
    environmentId: schedule.scope.environmentId,
    functionId: schedule.functionId,
    schedule: `${schedule.trigger.cron} ${schedule.trigger.timezone}`,
    scheduledAtMs,
  });
}

/** Expressions that tenants share, such as `0 0 * * *`, share a timetable. */
const timetablesMax = 10_000;

/** Parsing costs some fifty times as much as asking for a time, so what was parsed is kept. */
export function createTimetables(): (trigger: CronTrigger) => TimetableAnswer {
  const known = new Map<string, TimetableAnswer>();
  return (trigger) => {
    const key = `${trigger.cron}\n${trigger.timezone}`;
    const existing = known.get(key);
    if (existing !== undefined) return existing;
    const answer = createTimetable(trigger);
    if (known.size >= timetablesMax) known.delete(known.keys().next().value!);
    known.set(key, answer);
    return answer;
  };
}

function createTimetable({ cron, timezone }: CronTrigger): TimetableAnswer {
  try {
    // Never started: without a function to call, croner is arithmetic only.
    const job = new Cron(cron, { mode: '5-or-6-parts', timezone });
    const next = (afterMs: number): number | undefined => job.nextRun(new Date(afterMs))?.getTime();
    // A timezone is looked at when a time is asked for.
    next(0);
    return { kind: 'valid', timetable: { next } };
  } catch (error) {
    return { kind: 'invalid', reason: messageOf(error) };
  }
}

/** When schedules fire. Pure: the times of an expression in its timezone, in a span of time. */
import { Cron } from 'croner';
import { messageOf } from '@ironflow/errors';
import type { CronTrigger } from '@ironflow/schema';
import { parseInterval } from './interval.js';

export interface Timetable {
  /** The first time strictly after; `undefined` if there is none any more. */
  next(afterMs: number): number | undefined;
}

export type Times = Pick<CronTrigger, 'cron' | 'timezone'>;

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

export interface TimesIn {
  /** The first ones of the span, in order, at most `max`. */
  times: number[];
  /** The one that follows them: within the span only if there are more than `max`. */
  nextMs: number | undefined;
}

export function timesIn(timetable: Timetable, span: Span, max: number): TimesIn {
  const times: number[] = [];
  let next = timetable.next(span.fromMs);
  while (next !== undefined && next <= span.toMs && times.length < max) {
    times.push(next);
    next = timetable.next(next);
  }
  return { times, nextMs: next };
}

/** Expressions that tenants share, such as `0 0 * * *`, share a timetable. */
const timetablesMax = 10_000;

/** Parsing costs some fifty times as much as asking for a time, so what was parsed is kept. */
export function createTimetables(): (times: Times) => TimetableAnswer {
  const known = new Map<string, TimetableAnswer>();
  return (times) => {
    const key = `${times.cron}\n${times.timezone}`;
    const existing = known.get(key);
    if (existing !== undefined) return existing;
    const answer = createTimetable(times);
    if (known.size >= timetablesMax) known.delete(known.keys().next().value!);
    known.set(key, answer);
    return answer;
  };
}

function createTimetable({ cron, timezone }: Times): TimetableAnswer {
  const interval = parseInterval(cron);
  if (interval.kind === 'invalid') return interval;
  if (interval.kind === 'interval') {
    const { ms } = interval;
    return { kind: 'valid', timetable: { next: (afterMs) => (Math.floor(afterMs / ms) + 1) * ms } };
  }
  try {
    // Never started: without a function to call, croner is arithmetic only.
    const job = new Cron(cron, { mode: '5-or-6-parts', timezone });
    const next = (afterMs: number): number | undefined => job.nextRun(new Date(afterMs))?.getTime();
    // A timezone is looked at when a time is asked for.
    next(0);
    return { kind: 'valid', timetable: { next } };
  } catch (error) {
    return { kind: 'invalid', reason: messageOf(error).replace(/^CronPattern: /, '') };
  }
}

/** What a cron trigger has to satisfy to be registered, beyond its schema. Pure, but for looking up the next times. */
import type { CronTrigger } from '@ironflow/schema';
import { parseInterval } from './interval.js';
import { createTimetables, timesIn } from './timetable.js';
import type { Timetable } from './timetable.js';

export interface BrokenScheduleRule {
  field: 'cron' | 'timezone' | 'jitterMs';
  rule: string;
}

const messageLengthMax = 300;
/** As far as gaps between times are looked at. */
const gapsMax = 50;

export function brokenScheduleRule(
  { cron, timezone, jitterMs }: CronTrigger,
  nowMs: number,
): BrokenScheduleRule | undefined {
  if (!isTimezone(timezone)) {
    return { field: 'timezone', rule: 'must be an IANA timezone such as "Europe/Berlin"' };
  }
  const isInterval = parseInterval(cron).kind !== 'none';
  if (isInterval && timezone !== 'UTC') {
    return { field: 'timezone', rule: 'must be left out: @every is the same in all timezones' };
  }
  const fields = cron.trim().split(/\s+/).length;
  if (!isInterval && fields !== 5 && fields !== 6) {
    return { field: 'cron', rule: 'must have 5 fields, or 6 with seconds first, or be "@every 30s"' };
  }
  const answer = createTimetables()({ cron, timezone });
  if (answer.kind === 'invalid') {
    return {
      field: 'cron',
      rule: `must be a cron expression: ${answer.reason}`.slice(0, messageLengthMax),
    };
  }
  if (answer.timetable.next(nowMs) === undefined) {
    return { field: 'cron', rule: 'must have a time at which it fires' };
  }
  const gapMs = jitterMs === undefined ? Infinity : shortestGapMs(answer.timetable, nowMs);
  if (jitterMs !== undefined && jitterMs > gapMs) {
    const rule = `must not be longer than the time from one firing to the next, which may be ${gapMs} ms`;
    return { field: 'jitterMs', rule };
  }
  return undefined;
}

/** Times that jitter put behind the next one would come out of their order. */
function shortestGapMs(timetable: Timetable, nowMs: number): number {
  const { times } = timesIn(timetable, { fromMs: nowMs, toMs: Infinity }, gapsMax);
  return Math.min(...times.slice(1).map((time, index) => time - times[index]!), Infinity);
}

function isTimezone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** Every time of a schedule fires once; what its overlap makes of its run is told with the other runs. Pure. */
import { checkFirings } from '@ironflow/bench';
import { systemEventNames } from '@ironflow/schema';
import { overlapEveryMs, overlapFunction, overlaps } from '../cases/schedules.js';
import type { Facts, Violation } from '../facts.js';
import { groupBy } from './group-by.js';

const rule = 'the schedule did not fire as it should';
/** A schedule that is registered, or one that is read, is a little late. */
const slackMs = 3_000;

export function checkSchedule({ ledger, schedule }: Facts): Violation[] {
  const { failures } = checkFirings([...ledger], { fromMs: schedule.fromMs, nowMs: schedule.untilMs });
  return failures.map((evidence) => ({ rule, evidence }));
}

/** By their events: a run of one may have been skipped. */
export function checkOverlapTimes({ events, schedule }: Facts): Violation[] {
  return overlaps.flatMap((overlap) => {
    const functionId = overlapFunction(overlap);
    const times = groupBy(
      events.filter(({ name }) => name === systemEventNames.cron(functionId)),
      ({ data }) => Date.parse((data as { scheduledAt: string }).scheduledAt),
    );
    const gaps: string[] = [];
    const untilMs = schedule.untilMs - slackMs;
    const firstMs = Math.ceil((schedule.fromMs + slackMs) / overlapEveryMs) * overlapEveryMs;
    for (let timeMs = firstMs; timeMs <= untilMs; timeMs += overlapEveryMs) {
      if (!times.has(timeMs)) gaps.push(`${new Date(timeMs).toISOString()} did not fire`);
    }
    const wrong = [...times].flatMap(([timeMs, of]) => {
      if (of.length === 1 && timeMs % overlapEveryMs === 0) return [];
      return [`${new Date(timeMs).toISOString()} fired ${of.length} times`];
    });
    return [...gaps, ...wrong].map((what) => ({ rule, evidence: `${functionId}: ${what}` }));
  });
}

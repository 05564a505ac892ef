/** What a rate limit lets in and what it skips, by the times of the events. Pure. */
import { rateMax } from '../cases/flow.js';
import type { Violation } from '../facts.js';
import type { GroupedRun } from './flow.js';
import { groupBy } from './group-by.js';

/** Times are microseconds; beyond that a sum of them is not exact. */
const inexactMs = 0.01;
/** A run's row may be read so long after the transaction that stores it began. */
const storedWithinMs = 1_000;

export function checkRate(grouped: readonly GroupedRun[]): Violation[] {
  return [...groupBy(grouped, ({ group }) => group)].flatMap(([group, of]) => {
    const inOrder = [...of].sort((a, b) => a.event.receivedAtMs - b.event.receivedAtMs);
    const letIn = inOrder.filter(({ run }) => run.status !== 'skipped');
    return [...tooMany(group, letIn), ...unduly(group, inOrder, letIn)];
  });
}

/** In a period that begins with one of them; its end is not counted. */
function tooMany(group: string, letIn: readonly GroupedRun[]): Violation[] {
  const { limit, burst, periodMs } = rateMax;
  return letIn.flatMap(({ run, event }, index) => {
    const untilMs = event.receivedAtMs + periodMs - inexactMs;
    const within = letIn.slice(index).filter((other) => other.event.receivedAtMs < untilMs);
    if (within.length < limit + burst) return [];
    const evidence = `${group}: ${within.length} in the period from run ${run.id}`;
    return [{ rule: 'a rate limit let in too many', evidence }];
  });
}

/**
 * A skip was due if those let in before it had used up the rate. One that was routed late may have had others of a later time
 * decided before it. With a burst of two, those let in were let in in the order of their times: after one of the time t the
 * next one that is due is due at t and the spacing, and none of a time before t is within one spacing of that.
 */
function unduly(group: string, inOrder: readonly GroupedRun[], letIn: readonly GroupedRun[]): Violation[] {
  const { limit, burst, periodMs } = rateMax;
  const spacingMs = periodMs / limit;
  return inOrder.flatMap(({ run, event }) => {
    if (run.status !== 'skipped') return [];
    const decidedMs = Math.max(run.createdAtMs, run.endedAtMs ?? 0) + storedWithinMs;
    const before = letIn.filter(
      (other) => other.event.receivedAtMs <= event.receivedAtMs || other.run.createdAtMs <= decidedMs,
    );
    const nextMs = before.reduce(
      (next, other) => Math.max(next, other.event.receivedAtMs) + spacingMs,
      -Infinity,
    );
    if (nextMs - (burst - 1) * spacingMs + inexactMs > event.receivedAtMs) return [];
    const evidence = `${group} run ${run.id} at ${event.receivedAtMs}, the next was due at ${nextMs}`;
    return [{ rule: 'a rate limit skipped what it had room for', evidence }];
  });
}

/**
 * What a rate allows, worked out apart from the platform: as a leaky bucket of whole microseconds (the continuous-state form of the
 * algorithm, where the platform has the virtual scheduler). Pure.
 */
export interface RateRule {
  limit: number;
  periodMs: number;
  burst: number;
}

export interface RatedEvent {
  key: string;
  receivedUs: number;
  isLetIn: boolean;
}

export interface RateVerdict {
  letIn: number;
  skipped: number;
  oracleLetIn: number;
  /** Events of which the oracle, which sees them in the order of their times, says otherwise. */
  differing: number;
  /** Of those let in, in a period that begins with one of them. */
  mostInPeriod: number;
  /** Skipped although the bucket had room, whichever of those that came within `reorderedMs` after were decided before. */
  unduly: number;
}

/** Events of different requests may be stored in another order than they have times: by a transaction's length. */
const reorderedMs = 1_000;

/** The events in the order of their times. */
export function judgeRate(events: readonly RatedEvent[], rule: RateRule): RateVerdict {
  const verdict = { letIn: 0, skipped: 0, oracleLetIn: 0, differing: 0, mostInPeriod: 0, unduly: 0 };
  for (const ofKey of byKey(events).values()) {
    const letIn = ofKey.filter(({ isLetIn }) => isLetIn).map(({ receivedUs }) => receivedUs);
    const oracle = fillBucket(ofKey, rule);
    verdict.letIn += letIn.length;
    verdict.skipped += ofKey.length - letIn.length;
    verdict.oracleLetIn += oracle.filter(Boolean).length;
    verdict.differing += ofKey.filter(({ isLetIn }, index) => isLetIn !== oracle[index]).length;
    verdict.mostInPeriod = Math.max(verdict.mostInPeriod, mostWithin(letIn, rule.periodMs * 1_000));
    verdict.unduly += countUnduly(ofKey, letIn, rule);
  }
  return verdict;
}

/** The most of these times in one period, its end not counted. */
export function mostWithin(times: readonly number[], period: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  let most = 0;
  let first = 0;
  for (const [index, time] of sorted.entries()) {
    while (time - sorted[first]! >= period) first += 1;
    most = Math.max(most, index - first + 1);
  }
  return most;
}

/** Of beginnings in the order in which they should have come: how many came after one behind them, and by how much at most. */
export function overtaken(begunMs: readonly number[]): { count: number; mostMs: number } {
  let count = 0;
  let mostMs = 0;
  let earliestBehindMs = Infinity;
  for (const beganMs of [...begunMs].reverse()) {
    if (beganMs > earliestBehindMs) count += 1;
    mostMs = Math.max(mostMs, beganMs - earliestBehindMs);
    earliestBehindMs = Math.min(earliestBehindMs, beganMs);
  }
  return { count, mostMs };
}

function fillBucket(events: readonly RatedEvent[], { limit, periodMs, burst }: RateRule): boolean[] {
  const dropUs = (periodMs * 1_000) / limit;
  let levelUs = 0;
  let lastUs = events[0]?.receivedUs ?? 0;
  return events.map(({ receivedUs }) => {
    levelUs = Math.max(0, levelUs - (receivedUs - lastUs));
    lastUs = receivedUs;
    if (levelUs > (burst - 1) * dropUs) return false;
    levelUs += dropUs;
    return true;
  });
}

function countUnduly(events: readonly RatedEvent[], letIn: readonly number[], rule: RateRule): number {
  const dropUs = (rule.periodMs * 1_000) / rule.limit;
  let taken = 0;
  let emptyAtUs = -Infinity;
  let unduly = 0;
  for (const { receivedUs, isLetIn } of events) {
    while (taken < letIn.length && letIn[taken]! <= receivedUs + reorderedMs * 1_000) {
      emptyAtUs = Math.max(emptyAtUs, letIn[taken]!) + dropUs;
      taken += 1;
    }
    if (!isLetIn && emptyAtUs - receivedUs <= (rule.burst - 1) * dropUs) unduly += 1;
  }
  return unduly;
}

function byKey(events: readonly RatedEvent[]): Map<string, RatedEvent[]> {
  const keys = new Map<string, RatedEvent[]>();
  for (const event of events) {
    const ofKey = keys.get(event.key);
    if (ofKey === undefined) keys.set(event.key, [event]);
    else ofKey.push(event);
  }
  return keys;
}

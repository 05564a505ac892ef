/**
 * What a rate allows, worked out apart from the platform: as a leaky bucket (the continuous-state form of the algorithm, where the
 * platform has the virtual scheduler). Pure.
 */
export interface RateRule {
  limit: number;
  periodMs: number;
  burst: number;
}

export interface RateDecision {
  eventId: string;
  key: string;
  /** Whole milliseconds, as events have them: nothing is rounded. */
  receivedAtMs: number;
  isLetIn: boolean;
}

export interface RateVerdict {
  letIn: number;
  skipped: number;
  /** Decisions of which the oracle says otherwise, asked in the order in which the platform decided. */
  differing: number;
  /** The same in the order of the events' times: what was routed a little late was decided after some that came later. */
  differingByTime: number;
  /** Of those let in, in a period that begins with one of them. */
  mostInPeriod: number;
}

/** The decisions in the order in which they were made. */
export function judgeRate(decisions: readonly RateDecision[], rule: RateRule): RateVerdict {
  const verdict = { letIn: 0, skipped: 0, differing: 0, differingByTime: 0, mostInPeriod: 0 };
  for (const ofKey of byKey(decisions).values()) {
    const letIn = ofKey.filter(({ isLetIn }) => isLetIn);
    verdict.letIn += letIn.length;
    verdict.skipped += ofKey.length - letIn.length;
    verdict.differing += countDiffering(ofKey, rule);
    verdict.differingByTime += countDiffering([...ofKey].sort(byTime), rule);
    const times = letIn.map(({ receivedAtMs }) => receivedAtMs);
    verdict.mostInPeriod = Math.max(verdict.mostInPeriod, mostWithin(times, rule.periodMs));
  }
  return verdict;
}

/** Which of these times the rule lets in; they need not be in order. */
export function fillBucket(timesMs: readonly number[], { limit, periodMs, burst }: RateRule): boolean[] {
  const dropMs = periodMs / limit;
  let levelMs = 0;
  let lastMs = -Infinity;
  return timesMs.map((atMs) => {
    // A time before the last one finds the bucket as much fuller.
    const foundMs = Math.max(0, levelMs - (atMs - lastMs));
    if (foundMs > (burst - 1) * dropMs) return false;
    levelMs = foundMs + dropMs;
    lastMs = atMs;
    return true;
  });
}

/** The most of these times in one period, its end not counted. */
export function mostWithin(times: readonly number[], period: number): number {
  return fullestPeriod(times, period).length;
}

/** Those of these times that are in the period with the most of them, in order. */
export function fullestPeriod(times: readonly number[], period: number): number[] {
  const sorted = [...times].sort((a, b) => a - b);
  let fullest = { from: 0, to: 0 };
  let from = 0;
  for (const [index, time] of sorted.entries()) {
    while (time - sorted[from]! >= period) from += 1;
    if (index + 1 - from > fullest.to - fullest.from) fullest = { from, to: index + 1 };
  }
  return sorted.slice(fullest.from, fullest.to);
}

function countDiffering(decisions: readonly RateDecision[], rule: RateRule): number {
  const allowed = fillBucket(
    decisions.map(({ receivedAtMs }) => receivedAtMs),
    rule,
  );
  return decisions.filter(({ isLetIn }, index) => isLetIn !== allowed[index]).length;
}

/** Events of one request have one time, and ids in their order. */
function byTime(a: RateDecision, b: RateDecision): number {
  return a.receivedAtMs - b.receivedAtMs || (a.eventId < b.eventId ? -1 : 1);
}

function byKey(decisions: readonly RateDecision[]): Map<string, RateDecision[]> {
  const keys = new Map<string, RateDecision[]>();
  for (const decision of decisions) {
    const ofKey = keys.get(decision.key);
    if (ofKey === undefined) keys.set(decision.key, [decision]);
    else ofKey.push(decision);
  }
  return keys;
}

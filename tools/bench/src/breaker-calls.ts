/** What an endpoint behind a breaker may be called: its calls and what was told of the breaker in, what is wrong out. Pure. */
import type { CircuitChange } from '@ironflow/schema';

export const fragileFunction = {
  id: 'fragile',
  event: 'fragile.called',
  failuresToOpen: 5,
  openMs: 3_000,
} as const;

export type EndpointMode = 'works' | 'fails' | 'hangs';

export interface EndpointCall {
  atMs: number;
  mode: EndpointMode;
}

export interface BreakerChange {
  change: CircuitChange;
  atMs: number;
}

/** Every executor obeys a breaker within this. */
export const obeyWithinMs = 1_000;
/** Clocks of one machine, and the milliseconds between a decision and who is told of it. */
const slackMs = 100;

export interface BreakerJudgement {
  /** From one opening to the next, or to the closing. */
  windows: number;
  /** Calls until every executor had to obey the first opening. */
  callsBefore: number;
  probes: number;
  failures: string[];
}

/** Of one time that it was in trouble: from its first opening to its closing. */
export function judgeOpenTime(
  calls: readonly EndpointCall[],
  changes: readonly BreakerChange[],
): BreakerJudgement {
  const first = changes.findIndex(({ change }) => change === 'opened');
  const last = changes.findIndex(({ change }, index) => index > first && change === 'closed');
  if (first === -1 || last === -1) {
    return { windows: 0, callsBefore: 0, probes: 0, failures: ['it did not open and close again'] };
  }
  const failures: string[] = [];
  let probes = 0;
  const obeyedMs = changes[first]!.atMs + obeyWithinMs;
  for (let index = first; index < last; index += 1) {
    const fromMs = changes[index]!.atMs;
    const untilMs = changes[index + 1]!.atMs;
    const within = calls.filter(({ atMs }) => atMs >= Math.max(fromMs + slackMs, obeyedMs) && atMs < untilMs);
    probes += within.length;
    if (within.length > 1) failures.push(`${within.length} calls in one window`);
    const early = within.filter(({ atMs }) => atMs < fromMs + fragileFunction.openMs - slackMs);
    if (early.length > 0) failures.push(`${early.length} calls while it was open`);
  }
  const callsBefore = calls.filter(({ atMs }) => atMs < obeyedMs).length;
  return { windows: last - first, callsBefore, probes, failures };
}

/** Calls that came once everybody had to obey an operator, and before he reset it. */
export function callsWhileForced(calls: readonly EndpointCall[], changes: readonly BreakerChange[]): number {
  const forced = changes.find(({ change }) => change === 'forced');
  const reset = changes.find(({ change }) => change === 'reset');
  if (forced === undefined || reset === undefined) return 0;
  return calls.filter(({ atMs }) => atMs >= forced.atMs + obeyWithinMs && atMs < reset.atMs).length;
}

/**
 * The circuit breaker as a pure machine. The circuit-breaker service folds outcomes into a state, executors ask whether
 * they may call; both write what comes out by compare-and-set on the revision they read, and read again when refused.
 *
 *   closed ── enough failures ──► open ── openMs later, whoever claims the probe ──► half_open
 *     ▲                             ▲                                                    │
 *     │                             └───────────────── the probe failed ─────────────────┤
 *     └──────────────────────── successesToClose probes succeeded ───────────────────────┘
 *
 * B1 Only a probe's outcome moves a breaker that is not closed: calls that were let through before it opened end late.
 * B2 At most one probe is out: it is claimed in the state itself. One that is not heard of again is given up after
 *    probeTimeoutMs, and then another may be claimed; only the outcome of the one that is out settles anything. Who claimed
 *    it and then made no call gives it back.
 * B3 The window begins with its first call and is over windowMs later; the first call after that begins the next one.
 */
import type { CircuitPolicy, CircuitState } from './circuit-breaker.js';

export type CircuitParts = Pick<CircuitState, 'environmentId' | 'functionId' | 'endpoint'>;

export interface CircuitOutcome {
  succeeded: boolean;
  /** The outcome of the call that a half-open breaker let through: when that one was claimed. */
  probe?: number | undefined;
  /** That many alike, one after the other; default 1. */
  count?: number;
}

export type Admission =
  | { kind: 'call' }
  /** Write `next` by compare-and-set; who succeeds makes the call, as the probe. */
  | { kind: 'claim'; next: CircuitState }
  /** Ask again after this long. */
  | { kind: 'wait'; inMs: number };

/** The probe may be back at any moment, so nobody waits for its whole timeout. */
const probeRecheckMs = 5_000;

/** The state after outcomes in their order; the given object itself if nothing has changed. */
export function foldOutcomes(
  state: CircuitState | undefined,
  parts: CircuitParts,
  outcomes: readonly CircuitOutcome[],
  policy: CircuitPolicy,
  nowMs: number,
): CircuitState {
  let folded = state ?? closedCircuit(parts, nowMs);
  for (const outcome of outcomes) folded = foldOutcome(folded, outcome, policy, nowMs);
  return folded;
}

/** Whether `executor` may call the endpoint now. */
export function admit(
  state: CircuitState | undefined,
  executor: string,
  policy: CircuitPolicy,
  nowMs: number,
): Admission {
  if (state === undefined || state.state === 'closed') return { kind: 'call' };
  if (state.state === 'open') {
    const remainingMs = remaining(state.openedAtMs, policy.openMs, nowMs);
    if (remainingMs > 0) return { kind: 'wait', inMs: remainingMs };
    return { kind: 'claim', next: claimed({ ...state, successes: 0 }, executor, nowMs) };
  }
  const remainingMs = remaining(state.probe?.startedAtMs, policy.probeTimeoutMs, nowMs);
  if (remainingMs > 0) return { kind: 'wait', inMs: Math.min(remainingMs, probeRecheckMs) };
  return { kind: 'claim', next: claimed(state, executor, nowMs) };
}

/** The state without a probe that will not be made after all; the given object itself if that one is not out. */
export function withoutProbe(state: CircuitState, startedAtMs: number): CircuitState {
  if (state.state !== 'half_open' || state.probe?.startedAtMs !== startedAtMs) return state;
  const { probe: _unused, ...rest } = state;
  // Open for as long as before: the next who asks may claim it.
  return { ...rest, state: 'open' };
}

/** Whether the window of a state still counts. */
export function isWindowRunning(
  window: Pick<CircuitState, 'windowStartedAtMs'>,
  policy: CircuitPolicy,
  nowMs: number,
): boolean {
  return nowMs - window.windowStartedAtMs < policy.windowMs;
}

function foldOutcome(
  state: CircuitState,
  outcome: CircuitOutcome,
  policy: CircuitPolicy,
  atMs: number,
): CircuitState {
  switch (state.state) {
    case 'closed':
      return countCalls(state, outcome, policy, atMs);
    case 'half_open':
      // One that is not out was settled before, or was given up and perhaps followed by another.
      if (outcome.probe === undefined || outcome.probe !== state.probe?.startedAtMs) return state;
      return settleProbe(state, outcome.succeeded, policy, atMs);
    case 'open':
      return state;
  }
}

function countCalls(
  state: CircuitState,
  outcome: CircuitOutcome,
  policy: CircuitPolicy,
  atMs: number,
): CircuitState {
  const count = outcome.count ?? 1;
  if (count < 1) return state;
  const window =
    state.calls > 0 && isWindowRunning(state, policy, atMs)
      ? state
      : { windowStartedAtMs: atMs, calls: 0, failures: 0 };
  const counted: CircuitState = {
    ...state,
    windowStartedAtMs: window.windowStartedAtMs,
    calls: window.calls + count,
    failures: window.failures + (outcome.succeeded ? 0 : count),
    consecutiveFailures: outcome.succeeded ? 0 : state.consecutiveFailures + count,
  };
  return tripped(window.calls, counted, policy) ? opened(counted, atMs) : counted;
}

/** The rule after every single call, also when several successes were counted at once. */
function tripped(callsBefore: number, counted: CircuitState, policy: CircuitPolicy): boolean {
  if (counted.consecutiveFailures >= policy.consecutiveFailures) return true;
  if (counted.calls < policy.minimumCalls) return false;
  // The share of failures falls with each success: it was highest at the first call from which on it counts.
  const succeeded = counted.consecutiveFailures === 0;
  const callsThen = succeeded ? Math.max(policy.minimumCalls, callsBefore + 1) : counted.calls;
  return counted.failures >= policy.failureRatio * callsThen;
}

function settleProbe(
  state: CircuitState,
  succeeded: boolean,
  policy: CircuitPolicy,
  atMs: number,
): CircuitState {
  if (!succeeded) return opened(state, atMs);
  const successes = state.successes + 1;
  if (successes >= policy.successesToClose) return closedCircuit(state, atMs);
  const { probe: _settled, ...rest } = state;
  return { ...rest, successes };
}

function opened(state: CircuitState, atMs: number): CircuitState {
  const { probe: _failed, ...rest } = state;
  return { ...rest, state: 'open', openedAtMs: atMs, successes: 0 };
}

function claimed(state: CircuitState, executor: string, nowMs: number): CircuitState {
  return { ...state, state: 'half_open', probe: { executor, startedAtMs: nowMs } };
}

function closedCircuit(parts: CircuitParts, atMs: number): CircuitState {
  return {
    environmentId: parts.environmentId,
    functionId: parts.functionId,
    endpoint: parts.endpoint,
    state: 'closed',
    consecutiveFailures: 0,
    windowStartedAtMs: atMs,
    calls: 0,
    failures: 0,
    successes: 0,
  };
}

/** Never above the whole span: clocks differ, and one that lags must not make everybody wait longer than the policy. */
function remaining(sinceMs: number | undefined, spanMs: number, nowMs: number): number {
  if (sinceMs === undefined) return 0;
  return Math.min(spanMs, sinceMs + spanMs - nowMs);
}

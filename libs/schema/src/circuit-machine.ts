/**
 * The circuit breaker as a pure machine. The circuit-breaker service folds outcomes into a state, executors ask whether
 * they may call; both write what comes out by compare-and-set on the revision they read, and read again when refused.
 *
 *   closed ── enough failures ──► open ── openMs later, whoever claims the probe ──► half_open
 *     ▲                             ▲                                                    │
 *     │                             └───────────────── the probe failed ─────────────────┤
 *     └──────────────────────── successesToClose probes succeeded ───────────────────────┘
 *
 * An operator forces it open from any state, and resets it to closed from any.
 *
 * B1 Only a probe's outcome moves a breaker that is not closed: calls that were let through before it opened end late.
 * B2 At most one probe is out: it is claimed in the state itself. Whoever made the call says so as long as it is under way.
 *    A probe that is not heard of for probeTimeoutMs is given up, and then another may be claimed; only the outcome of the
 *    one that is out settles anything. Who claimed it and then made no call gives it back.
 * B3 The window begins with its first call and is over windowMs later; the first call after that begins the next one.
 * B4 Of one that is forced open no outcome is counted and no probe is made; once its time is over it is like any open one.
 * B5 A function that has switched its breakers off is kept from being called only by an operator.
 */
import type { CircuitPolicy, CircuitState, ForcedOpen } from './circuit-breaker.js';

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
  /** Ask again after this long, or when the breaker has closed. */
  | { kind: 'wait'; inMs: number };

/** Who waits is woken as the breaker closes; the word of that may be lost, and then it takes no longer. */
const recheckMs = 120_000;
/** Readers that know of no force obey such a breaker as well: to them it has only just opened. */
const neverOver = Date.UTC(9999, 0, 1);

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
  const forcedMs = forcedRemaining(state.forced, nowMs);
  if (forcedMs > 0) return { kind: 'wait', inMs: Math.min(forcedMs, recheckMs) };
  if (policy.enabled === false) return { kind: 'call' };
  if (state.state === 'open') {
    const { forced, ...open } = state;
    const openMs = open.openMs ?? policy.openMs;
    const openedAtMs = forced === undefined ? open.openedAtMs : nowMs - openMs;
    const remainingMs = remaining(openedAtMs, openMs, nowMs);
    if (remainingMs > 0) return { kind: 'wait', inMs: Math.min(remainingMs, recheckMs) };
    return { kind: 'claim', next: claimed({ ...open, openedAtMs, successes: 0 }, executor, nowMs) };
  }
  const remainingMs = remaining(seenAtMs(state.probe), policy.probeTimeoutMs, nowMs);
  if (remainingMs > 0) return { kind: 'wait', inMs: remainingMs };
  return { kind: 'claim', next: claimed(state, executor, nowMs) };
}

/** As an operator wants it: a probe that is out settles nothing any more. */
export function forcedOpen(
  state: CircuitState | undefined,
  parts: CircuitParts,
  forced: ForcedOpen,
): CircuitState {
  const { probe: _unsettled, ...rest } = state ?? closedCircuit(parts, forced.sinceMs);
  return { ...rest, state: 'open', openedAtMs: forced.untilMs ?? neverOver, successes: 0, forced };
}

/** As if nothing had ever been called. */
export function closedCircuit(parts: CircuitParts, atMs: number): CircuitState {
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

/** For how long nobody may call because an operator says so; endless without an end. */
export function forcedRemaining(forced: ForcedOpen | undefined, nowMs: number): number {
  if (forced === undefined) return 0;
  return forced.untilMs === undefined ? Number.POSITIVE_INFINITY : Math.max(0, forced.untilMs - nowMs);
}

/** The state without a probe that will not be made after all; the given object itself if that one is not out. */
export function withoutProbe(state: CircuitState, startedAtMs: number): CircuitState {
  if (state.state !== 'half_open' || state.probe?.startedAtMs !== startedAtMs) return state;
  const { probe: _unused, ...rest } = state;
  // Open for as long as before: the next who asks may claim it.
  return { ...rest, state: 'open' };
}

/** The state with the probe heard of now; the given object itself if that one is not out, or was heard of lately. */
export function withProbeSeen(
  state: CircuitState,
  startedAtMs: number,
  { probeTimeoutMs }: CircuitPolicy,
  nowMs: number,
): CircuitState {
  const { probe } = state;
  if (state.state !== 'half_open' || probe?.startedAtMs !== startedAtMs) return state;
  // A write that fails may be tried again before the time is over.
  if (nowMs - (probe.seenAtMs ?? startedAtMs) < probeTimeoutMs / 3) return state;
  return { ...state, probe: { ...probe, seenAtMs: nowMs } };
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
  if (policy.enabled === false) {
    return state.state === 'closed' || state.forced !== undefined ? state : closedCircuit(state, atMs);
  }
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
  return tripped(window.calls, counted, policy) ? opened(counted, policy, atMs) : counted;
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
  if (!succeeded) return opened(state, policy, atMs);
  const successes = state.successes + 1;
  if (successes >= policy.successesToClose) return closedCircuit(state, atMs);
  const { probe: _settled, ...rest } = state;
  return { ...rest, successes };
}

function opened(state: CircuitState, { openMs }: CircuitPolicy, atMs: number): CircuitState {
  const { probe: _failed, ...rest } = state;
  return { ...rest, state: 'open', openedAtMs: atMs, openMs, successes: 0 };
}

function claimed(state: CircuitState, executor: string, nowMs: number): CircuitState {
  return { ...state, state: 'half_open', probe: { executor, startedAtMs: nowMs } };
}

function seenAtMs(probe: CircuitState['probe']): number | undefined {
  return probe?.seenAtMs ?? probe?.startedAtMs;
}

/** Never above the whole span: clocks differ, and one that lags must not make everybody wait longer than the policy. */
function remaining(sinceMs: number | undefined, spanMs: number, nowMs: number): number {
  if (sinceMs === undefined) return 0;
  return Math.min(spanMs, sinceMs + spanMs - nowMs);
}

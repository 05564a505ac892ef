/**
 * What one replica knows of one breaker, and whether an outcome has to be written. Pure.
 *
 * V1 Failures, probes and whatever moves a state are in the bucket, where every replica sees them. Successes that move
 *    nothing are counted here and folded in with the next write, so that a healthy function costs no write at all.
 * V2 Near to opening by share, successes are written as well: a replica that happened to see the failures must not decide
 *    without the successes that the others saw.
 */
import { foldOutcomes, isWindowRunning } from '@ironflow/schema';
import type { CircuitOutcome, CircuitParts, CircuitPolicy, CircuitState } from '@ironflow/schema';

export interface CircuitView {
  /** As last seen in the bucket; absent if it is not there. */
  saved: CircuitState | undefined;
  /** Successes that are not in the bucket, and the window they belong to. */
  unsaved: UnsavedSuccesses;
}

export interface UnsavedSuccesses {
  windowStartedAtMs: number;
  count: number;
}

export interface Fold {
  parts: CircuitParts;
  outcomes: readonly CircuitOutcome[];
  policy: CircuitPolicy;
  nowMs: number;
}

export const nothingUnsaved: UnsavedSuccesses = { windowStartedAtMs: 0, count: 0 };

/** The view after successes that need not be written; `undefined` if the bucket has to be asked. */
export function keepInMemory(view: CircuitView, fold: Fold): CircuitView | undefined {
  const { saved } = view;
  // The view may lag behind by a moment, in which a breaker can have opened and a probe gone out and come back.
  if (saved !== undefined && saved.state !== 'closed') return undefined;
  if (fold.outcomes.some(({ succeeded, probe }) => !succeeded || probe !== undefined)) return undefined;
  const next = foldInto(saved, view.unsaved, fold);
  if (hasToBeWritten(saved, next, fold)) return undefined;
  return { saved, unsaved: unsavedIn(next, saved) };
}

/** The state with what was not saved yet and then the outcomes folded in. */
export function foldInto(
  saved: CircuitState | undefined,
  unsaved: UnsavedSuccesses,
  fold: Fold,
): CircuitState {
  const { parts, outcomes, policy, nowMs } = fold;
  return foldOutcomes(withUnsaved(saved, unsaved, fold), parts, outcomes, policy, nowMs);
}

/**
 * Adds successes that came before to the calls of the window. They do not end failures in a row: those that are saved were
 * reported after them, or the successes would have been written.
 */
function withUnsaved(
  saved: CircuitState | undefined,
  { windowStartedAtMs, count }: UnsavedSuccesses,
  { parts, policy, nowMs }: Fold,
): CircuitState | undefined {
  if (count === 0 || !isWindowRunning({ windowStartedAtMs }, policy, nowMs)) return saved;
  if (saved === undefined) {
    return foldOutcomes(undefined, parts, [{ succeeded: true, count }], policy, windowStartedAtMs);
  }
  if (saved.state !== 'closed') return saved;
  const isSameWindow = saved.calls > 0 && isWindowRunning(saved, policy, windowStartedAtMs);
  return isSameWindow
    ? { ...saved, calls: saved.calls + count }
    : { ...saved, windowStartedAtMs, calls: count, failures: 0 };
}

export function hasToBeWritten(saved: CircuitState | undefined, next: CircuitState, fold: Fold): boolean {
  if (next === saved) return false;
  if (next.state !== 'closed' || (saved !== undefined && saved.state !== 'closed')) return true;
  if (fold.policy.enabled === false) return false;
  if (fold.outcomes.some(({ succeeded }) => !succeeded)) return true;
  if (saved === undefined) return false;
  return saved.consecutiveFailures !== next.consecutiveFailures || isNearOpening(saved, fold);
}

/** What the next write has to add: the successes of `next` that `saved` does not have. */
export function unsavedIn(next: CircuitState, saved: CircuitState | undefined): UnsavedSuccesses {
  const { windowStartedAtMs, calls, failures } = next;
  const known = saved?.windowStartedAtMs === windowStartedAtMs ? saved : { calls: 0, failures: 0 };
  return { windowStartedAtMs, count: calls - failures - (known.calls - known.failures) };
}

/** Half-way to opening by the share of failures. */
function isNearOpening(saved: CircuitState, { policy, nowMs }: Fold): boolean {
  if (!isWindowRunning(saved, policy, nowMs)) return false;
  return 2 * saved.failures >= policy.failureRatio * Math.max(saved.calls, policy.minimumCalls);
}

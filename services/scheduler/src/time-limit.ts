/**
 * Runs synchronous code for a limited time. Node's only way to interrupt running JavaScript, a regular expression that
 * backtracks included, is the watchdog of `vm` scripts; it costs some 60 µs a call.
 */
import { createContext, Script } from 'node:vm';

export type TimedOutcome<T> = { kind: 'ended'; value: T } | { kind: 'interrupted' };

const sandbox = createContext({ task: undefined }) as { task: (() => void) | undefined };
const interruptionCode = 'ERR_SCRIPT_EXECUTION_TIMEOUT';
const script = new Script('task()');

export function withinTimeLimit<T>(limitMs: number, work: () => T): TimedOutcome<T> {
  let outcome: TimedOutcome<T> = { kind: 'interrupted' };
  sandbox.task = () => {
    outcome = { kind: 'ended', value: work() };
  };
  try {
    script.runInContext(sandbox, { timeout: limitMs });
  } catch (error) {
    if (!isInterruption(error)) throw error;
  } finally {
    sandbox.task = undefined;
  }
  return outcome;
}

function isInterruption(error: unknown): boolean {
  // Not `instanceof Error`: it may come from another realm than ours.
  return typeof error === 'object' && error !== null && 'code' in error && error.code === interruptionCode;
}

/**
 * Runs synchronous code for a limited time of the processor. Node's only way to interrupt running JavaScript, a regular
 * expression that backtracks included, is the watchdog of `vm` scripts; it costs some 60 µs a call, and it goes by the
 * clock on the wall. On a busy machine that clock runs while the code does not, so an interruption says nothing yet:
 *
 * L1 Only work that has used up its limit of the processor has exceeded it.
 * L2 What was interrupted before that is begun again with twice the time, a bounded number of times.
 */
import { createContext, Script } from 'node:vm';

export type LimitedOutcome<T> = { usedMs: number } & (
  | { kind: 'ended'; value: T }
  | { kind: 'exceeded' }
  /** The machine gave it too little time to tell. */
  | { kind: 'undecided' }
);

/** An idle machine, too, gives a little less than all of the time. */
const allowance = 1.2;
/** The last try has eight times the time of the first: a share of the processor of an eighth decides. */
const attemptsMax = 4;

/** `work` may be begun several times; it ends at most once. */
export function withinTimeLimit<T>(limitMs: number, work: () => T): LimitedOutcome<T> {
  let usedMs = 0;
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const startedAtMs = processorMs();
    const ended = interruptedAfter(Math.ceil(limitMs * allowance * 2 ** attempt), work);
    const attemptMs = processorMs() - startedAtMs;
    usedMs += attemptMs;
    if (ended !== undefined) return { kind: 'ended', value: ended.value, usedMs };
    if (attemptMs >= limitMs) return { kind: 'exceeded', usedMs };
  }
  return { kind: 'undecided', usedMs };
}

/** Of the whole process, whose other threads have little to do meanwhile; Node 20 cannot tell them apart. */
function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

const sandbox = createContext({ task: undefined }) as { task: (() => void) | undefined };
const interruptionCode = 'ERR_SCRIPT_EXECUTION_TIMEOUT';
const script = new Script('task()');

function interruptedAfter<T>(timeoutMs: number, work: () => T): { value: T } | undefined {
  let ended: { value: T } | undefined;
  sandbox.task = () => {
    ended = { value: work() };
  };
  try {
    script.runInContext(sandbox, { timeout: timeoutMs });
  } catch (error) {
    if (!isInterruption(error)) throw error;
  } finally {
    sandbox.task = undefined;
  }
  return ended;
}

function isInterruption(error: unknown): boolean {
  // Not `instanceof Error`: it may come from another realm than ours.
  return typeof error === 'object' && error !== null && 'code' in error && error.code === interruptionCode;
}

/** One attempt of one step: runs its function and makes the record of how it ended. */
import type { Failure, StepRecord } from '@ironflow/schema';
import { decideRetry } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { toFailure } from '../failure.js';
import { isNonRetryable, retryAfterMsOf } from '../function-errors.js';
import { writeOutput } from '../output.js';
import type { StepContext } from '../step-tools.js';
import type { StartTimer } from '../timer.js';
import { withSignal } from './lazy-abort.js';
import type { LazyAbort } from './lazy-abort.js';

/** A step as the handler called it. */
export type StepWork = AttemptedStep | PendingStep;
/** `invoke`: its work starts another run, and answers what the step waits for from then on. */
export type AttemptedStep = RunStep | InvokeStep;
export interface RunStep extends StepAttempts {
  type: 'run' | 'compensate';
  work: (context: StepContext, stepId: string) => unknown;
}
export interface InvokeStep extends StepAttempts {
  type: 'invoke';
  work: (context: StepContext, stepId: string) => Promise<Pick<InvokeRecord, 'awaited' | 'due'>>;
}
type InvokeRecord = Extract<StepRecord, { status: 'waiting'; type: 'invoke' }>;
interface StepAttempts {
  name: string;
  policy: RetryPolicy;
  /** Of one attempt. */
  timeoutMs: number | undefined;
}
/** One that the platform ends. */
export interface PendingStep {
  type: 'sleep' | 'wait_for_event' | 'wait_for_signal';
  name: string;
  /** Reserved for it before it is called. */
  id?: string;
  /** The record of its beginning, or of its end if its time has passed: then it takes the next place. */
  record(id: string, takePlace: () => number): StepRecord;
}

export interface Attempt {
  readonly id: string;
  readonly step: AttemptedStep;
  /** From 1. */
  readonly number: number;
  readonly startedAtMs: number;
}

interface AttemptOptions {
  now: () => number;
  random: () => number;
}

interface WorkOptions {
  abort: LazyAbort;
  startTimer: StartTimer;
}

/** Calls the step's function synchronously; never rejects. */
export async function attemptStep(
  attempt: Attempt,
  options: AttemptOptions & WorkOptions,
): Promise<StepRecord> {
  const { step } = attempt;
  try {
    if (step.type === 'invoke') return begunBy(attempt, await work(step, attempt, options));
    const returned = await work(step, attempt, options);
    // Nobody is given what an undoing returned.
    const output = step.type === 'compensate' ? undefined : writeOutput(returned);
    return {
      ...endOf(attempt, options.now()),
      type: step.type,
      status: 'completed',
      ...(output === undefined ? {} : { output }),
    };
  } catch (thrown) {
    return recordOfFailure(attempt, thrown, options);
  }
}

function begunBy(
  { id, step, number, startedAtMs }: Attempt,
  pending: Pick<InvokeRecord, 'awaited' | 'due'>,
): InvokeRecord {
  const base = { id, name: step.name, type: 'invoke' as const, attempt: number, startedAtMs };
  return { ...base, status: 'waiting', ...pending };
}

function work<Answer>(
  step: {
    work: (context: StepContext, stepId: string) => Answer | Promise<Answer>;
    timeoutMs: number | undefined;
  },
  { id, number }: Attempt,
  { abort, startTimer }: WorkOptions,
): Answer | Promise<Answer> {
  const { timeoutMs } = step;
  if (timeoutMs === undefined) return step.work(withSignal({ attempt: number }, abort), id);
  const own = new AbortController();
  return new Promise((resolve, reject) => {
    // Not by AbortSignal.any: what listens to that stays in the process when neither of its signals ever fires.
    const onAbort = (): void => {
      finish();
      own.abort(abort.signal.reason);
    };
    const finish = (): void => {
      cancel();
      abort.signal.removeEventListener('abort', onAbort);
    };
    const cancel = startTimer(timeoutMs, () => {
      finish();
      const late = new Error(`it took longer than ${timeoutMs} ms`);
      late.name = 'StepTimeout';
      own.abort(late);
      reject(late);
    });
    abort.signal.addEventListener('abort', onAbort, { once: true });
    // At once, and what it throws at once is a rejection too.
    const worked = (async () => step.work({ attempt: number, signal: own.signal }, id))();
    void worked.then(resolve, reject).finally(finish);
  });
}

export function recordOfFailure(attempt: Attempt, thrown: unknown, options: AttemptOptions): StepRecord {
  const failed = {
    attempt: attempt.number,
    retryable: !isNonRetryable(thrown),
    retryAfterMs: retryAfterMsOf(thrown),
  };
  const decision = decideRetry(attempt.step.policy, failed, options.random());
  const error: Failure = toFailure(thrown);
  const end = endOf(attempt, options.now());
  if (!decision.retry) return { ...end, status: 'failed', error };
  return { ...end, status: 'retrying', error, retryInMs: decision.delayMs };
}

function endOf(attempt: Attempt, nowMs: number) {
  return {
    id: attempt.id,
    name: attempt.step.name,
    type: attempt.step.type,
    attempt: attempt.number,
    startedAtMs: attempt.startedAtMs,
    // A wall clock may be set back between the two.
    endedAtMs: Math.max(attempt.startedAtMs, nowMs),
  };
}

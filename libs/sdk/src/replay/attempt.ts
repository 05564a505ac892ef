/** One attempt of one step: runs its function and makes the record of how it ended. */
import type { Failure, StepRecord } from '@ironflow/schema';
import { decideRetry } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { toFailure } from '../failure.js';
import { isNonRetryable, retryAfterMsOf } from '../function-errors.js';
import { writeOutput } from '../output.js';
import type { StepContext } from '../step-tools.js';
import { withSignal } from './lazy-abort.js';
import type { LazyAbort } from './lazy-abort.js';

/** A step as the handler called it. */
export type StepWork = RunStep | SleepStep;
export interface RunStep {
  type: 'run';
  name: string;
  work: (context: StepContext) => unknown;
  policy: RetryPolicy;
}
export interface SleepStep {
  type: 'sleep';
  name: string;
  /** The record of its beginning, or of its end if the time has passed: then it takes the next place. */
  record(id: string, takePlace: () => number): StepRecord;
}

export interface Attempt {
  readonly id: string;
  readonly step: RunStep;
  /** From 1. */
  readonly number: number;
  readonly startedAtMs: number;
}

interface AttemptOptions {
  now: () => number;
  random: () => number;
}

/** Calls the step's function synchronously; never rejects. */
export async function attemptStep(
  attempt: Attempt,
  options: AttemptOptions & { abort: LazyAbort },
): Promise<StepRecord> {
  const context: StepContext = withSignal({ attempt: attempt.number }, options.abort);
  try {
    const output = writeOutput(await attempt.step.work(context));
    return {
      ...endOf(attempt, options.now()),
      status: 'completed',
      ...(output === undefined ? {} : { output }),
    };
  } catch (thrown) {
    return recordOfFailure(attempt, thrown, options);
  }
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
    type: 'run' as const,
    attempt: attempt.number,
    startedAtMs: attempt.startedAtMs,
    // A wall clock may be set back between the two.
    endedAtMs: Math.max(attempt.startedAtMs, nowMs),
  };
}

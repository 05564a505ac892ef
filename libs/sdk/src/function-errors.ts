/**
 * What a function throws and catches. Their names and fields are public: a step's error has to be the same on the first
 * run and on every replay, so a StepError is made only of what was recorded.
 */
import type { Failure } from '@ironflow/schema';
import { ConfigurationError } from './configuration-error.js';
import { durationMsMax, parseDuration } from './duration.js';
import type { Duration } from './duration.js';

/** Trying again is useless: a step fails for good, and so does the function if it throws one. */
export class NonRetryableError extends Error {
  override name = 'NonRetryableError';
}

/** Try again, but not before `delay` has passed (or that time has come); attempts are used up as ever. */
export class RetryAfterError extends Error {
  override name = 'RetryAfterError';
  readonly retryAfterMs: number;

  constructor(message: string, delay: Duration | Date, options?: { cause?: unknown }) {
    super(message, options);
    this.retryAfterMs =
      delay instanceof Date ? Math.max(0, delay.getTime() - Date.now()) : parseDuration(delay);
  }
}

/** A step used up its attempts, or failed with a NonRetryableError. `cause` has the name, message and stack it threw. */
export class StepError extends Error {
  override readonly name = 'StepError';
  readonly stepId: string;
  readonly attempts: number;
  /** What the last attempt threw, as it was recorded. */
  readonly failure: Failure;

  constructor(of: { stepId: string; attempts: number; failure: Failure }) {
    const times = of.attempts === 1 ? '1 attempt' : `${of.attempts} attempts`;
    super(`step "${of.stepId}" failed after ${times}: ${of.failure.name}: ${of.failure.message}`, {
      cause: restore(of.failure),
    });
    this.stepId = of.stepId;
    this.attempts = of.attempts;
    this.failure = of.failure;
    // The stack of the place that made this object would differ between the first run and a replay.
    this.stack = `${this.name}: ${this.message}`;
  }
}

/** The recorded steps of the run do not fit the function's code any more. Never caught: the run fails with it. */
export class NondeterminismError extends NonRetryableError {
  override name = 'NondeterminismError';

  constructor(
    readonly stepId: string,
    message: string,
  ) {
    super(message);
  }
}

const finalNames = new Set(['NonRetryableError', 'StepError']);

/** Whether trying again is useless. By name as well: a program may hold two copies of this package. */
export function isNonRetryable(thrown: unknown): boolean {
  if (thrown instanceof NonRetryableError || thrown instanceof StepError) return true;
  return thrown instanceof ConfigurationError || (thrown instanceof Error && finalNames.has(thrown.name));
}

/** The delay an error asks for; `undefined` when it asks for none, or for one that is no time: the policy decides. */
export function retryAfterMsOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || thrown.name !== 'RetryAfterError' || !('retryAfterMs' in thrown)) {
    return undefined;
  }
  // Of an unreadable date it is NaN, which JSON would make null of: a message that the executor cannot read.
  const { retryAfterMs } = thrown;
  if (typeof retryAfterMs !== 'number' || !Number.isFinite(retryAfterMs)) return undefined;
  return Math.min(durationMsMax, Math.max(0, Math.ceil(retryAfterMs)));
}

function restore(failure: Failure): Error {
  const error = new Error(failure.message);
  error.name = failure.name;
  error.stack = failure.stack ?? `${failure.name}: ${failure.message}`;
  return error;
}

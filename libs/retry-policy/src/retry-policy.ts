/**
 * When to try again after a failed attempt: exponential backoff with full jitter
 * (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015). Pure: the caller brings the random number.
 */
export interface RetryPolicy {
  /** All attempts, the first included; 1 means no retry. */
  attempts: number;
  initialDelayMs: number;
  factor: number;
  maxDelayMs: number;
}

export const defaultRetryPolicy: RetryPolicy = {
  attempts: 3,
  initialDelayMs: 1_000,
  factor: 2,
  maxDelayMs: 300_000,
};

export type RetryDecision = { retry: true; delayMs: number } | { retry: false };

export interface FailedAttempt {
  /** The attempt that failed, counted from 1. */
  attempt: number;
  /** False for errors that say that trying again is useless. */
  retryable: boolean;
  /** A delay the error asks for, in place of the policy's. */
  retryAfterMs?: number | undefined;
}

/** `random` is uniform in [0, 1); full jitter makes the delay uniform in [0, backoff]. */
export function decideRetry(policy: RetryPolicy, failed: FailedAttempt, random: number): RetryDecision {
  if (!failed.retryable || failed.attempt >= policy.attempts) return { retry: false };
  if (failed.retryAfterMs !== undefined) return { retry: true, delayMs: Math.max(0, failed.retryAfterMs) };
  return { retry: true, delayMs: Math.round(backoffMs(policy, failed.attempt) * random) };
}

/** The longest delay that may follow this attempt. */
export function backoffMs(policy: RetryPolicy, attempt: number): number {
  return Math.min(policy.maxDelayMs, policy.initialDelayMs * policy.factor ** (attempt - 1));
}

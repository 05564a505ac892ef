/**
 * Bounded polling, for what cannot signal: tries until the check passes, and then gives its result. A check says "not
 * yet" by throwing, so the last failure is what a test reports when time is up.
 */
import { messageOf } from '@ironflow/errors';
import { setTimeout as delay } from 'node:timers/promises';

export interface EventuallyOptions {
  timeoutMs?: number;
  intervalMs?: number;
  /** What is waited for, for the message. */
  description?: string;
}

export async function eventually<T>(
  check: () => T | Promise<T>,
  { timeoutMs = 5_000, intervalMs = 10, description }: EventuallyOptions = {},
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs;
  let failure: unknown;
  for (;;) {
    const attempt = await tryOnce(check, deadlineMs);
    if (attempt.outcome === 'passed') return attempt.result;
    // A check cut off by the deadline says less than the one before it.
    if (attempt.outcome === 'failed') failure = attempt.error;
    if (performance.now() + intervalMs >= deadlineMs) break;
    await delay(intervalMs);
  }
  const what = description === undefined ? '' : ` for ${description}`;
  const last = failure === undefined ? 'the check did not answer' : messageOf(failure);
  throw new Error(`waited ${timeoutMs} ms${what}; last: ${last}`, { cause: failure });
}

type Attempt<T> =
  { outcome: 'passed'; result: T } | { outcome: 'failed'; error: unknown } | { outcome: 'cut_off' };

/** A check that hangs must not outlast the deadline. */
async function tryOnce<T>(check: () => T | Promise<T>, deadlineMs: number): Promise<Attempt<T>> {
  let timer: NodeJS.Timeout | undefined;
  const cutOff = new Promise<Attempt<T>>((resolve) => {
    const remainingMs = Math.max(0, deadlineMs - performance.now());
    timer = setTimeout(() => resolve({ outcome: 'cut_off' }), remainingMs);
  });
  const attempt = Promise.resolve()
    .then(check)
    .then(
      (result): Attempt<T> => ({ outcome: 'passed', result }),
      (error: unknown): Attempt<T> => ({ outcome: 'failed', error }),
    );
  try {
    return await Promise.race([attempt, cutOff]);
  } finally {
    clearTimeout(timer);
  }
}

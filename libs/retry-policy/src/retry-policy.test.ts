import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { backoffMs, decideRetry, defaultRetryPolicy } from './retry-policy.js';

test('the default gives three attempts and doubles from one second', () => {
  expect(decideRetry(defaultRetryPolicy, { attempt: 1, retryable: true }, 1)).toEqual({
    retry: true,
    delayMs: 1_000,
  });
  expect(decideRetry(defaultRetryPolicy, { attempt: 2, retryable: true }, 1)).toEqual({
    retry: true,
    delayMs: 2_000,
  });
  expect(decideRetry(defaultRetryPolicy, { attempt: 3, retryable: true }, 1)).toEqual({ retry: false });
});

test('an error that cannot be retried ends at once', () => {
  expect(decideRetry(defaultRetryPolicy, { attempt: 1, retryable: false }, 0.5)).toEqual({ retry: false });
});

test('an error may name its own delay', () => {
  const failed = { attempt: 1, retryable: true, retryAfterMs: 42 };
  expect(decideRetry(defaultRetryPolicy, failed, 0.5)).toEqual({ retry: true, delayMs: 42 });
});

test('a delay is never negative, never above the cap, and attempts are bounded', () => {
  const policy = fc.record({
    attempts: fc.integer({ min: 1, max: 50 }),
    initialDelayMs: fc.integer({ min: 0, max: 60_000 }),
    factor: fc.double({ min: 1, max: 10, noNaN: true }),
    maxDelayMs: fc.integer({ min: 0, max: 3_600_000 }),
  });
  fc.assert(
    fc.property(
      policy,
      fc.integer({ min: 1, max: 100 }),
      fc.double({ min: 0, max: 0.999999, noNaN: true }),
      (p, attempt, r) => {
        const decision = decideRetry(p, { attempt, retryable: true }, r);
        expect(decision.retry).toBe(attempt < p.attempts);
        if (decision.retry) {
          expect(decision.delayMs).toBeGreaterThanOrEqual(0);
          expect(decision.delayMs).toBeLessThanOrEqual(p.maxDelayMs);
        }
        expect(backoffMs(p, attempt + 1)).toBeGreaterThanOrEqual(backoffMs(p, attempt));
      },
    ),
  );
});

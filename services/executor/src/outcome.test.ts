import { describe, expect, test } from '@jest/globals';
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { Mismatch, Outcome } from '@ironflow/schema';
import { callFailedEntry, endingEntry } from './outcome.js';

const call = { endpoint: 'worker', succeeded: true };
const context = { wake: 3, failures: 1, call };
const error = { name: 'Error', message: 'm' };
const mismatch: Mismatch = {
  count: 1,
  steps: [{ id: 'a', kind: 'not_called', type: 'run', status: 'completed' }],
};

describe('the end of a call', () => {
  test('serves the wake-ups that were read before it', () => {
    expect(endingEntry({ kind: 'yielded' }, context)).toEqual({
      type: 'run',
      run: { kind: 'yielded', served: 3, call },
    });
  });

  test('of a function that threw and may be called again waits, one attempt further', () => {
    expect(endingEntry({ kind: 'threw', error, retryInMs: 50 }, context)).toEqual({
      type: 'run',
      run: { kind: 'yielded', served: 3, call, retry: { attempt: 2, inMs: 50, error } },
    });
  });

  test('of a function that threw for good fails the run', () => {
    expect(endingEntry({ kind: 'threw', error }, context)).toMatchObject({ run: { kind: 'failed', error } });
  });

  test.each<Exclude<Outcome, { kind: 'continue' | 'declined' }>>([
    { kind: 'yielded', mismatch },
    { kind: 'completed', mismatch },
    { kind: 'threw', error, mismatch },
    { kind: 'threw', error, retryInMs: 50, mismatch },
  ])('carries what does not fit the code, however it ends (%j)', (outcome) => {
    expect(endingEntry(outcome, context)).toMatchObject({ run: { mismatch } });
  });
});

describe('a call that failed', () => {
  const lost = { error: { name: 'worker_lost', message: 'm' }, retryAtOnce: true };

  test('is repeated at once the first time a worker is lost, and by the policy after that', () => {
    expect(callFailedEntry(lost, { ...context, failures: 0 }, defaultRetryPolicy, 0.5)).toMatchObject({
      run: { kind: 'call_failed', retry: { attempt: 1, inMs: 0 } },
    });
    expect(callFailedEntry(lost, context, defaultRetryPolicy, 0.5)).toMatchObject({
      run: { kind: 'call_failed', retry: { attempt: 2, inMs: 1_000 } },
    });
  });

  test('is not repeated before a call that may still run has reached its deadline', () => {
    const unknown = { error, notBeforeMs: 30_000 };
    expect(callFailedEntry(unknown, { ...context, failures: 0 }, defaultRetryPolicy, 0)).toMatchObject({
      run: { retry: { inMs: 30_000 } },
    });
  });

  test('fails the run when its attempts are used up', () => {
    expect(callFailedEntry(lost, { ...context, failures: 2 }, defaultRetryPolicy, 0.5)).toMatchObject({
      run: { kind: 'failed', error: lost.error },
    });
  });
});

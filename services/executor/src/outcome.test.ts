import { describe, expect, test } from '@jest/globals';
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { Mismatch } from '@ironflow/schema';
import {
  callFailedEntry,
  endingEntry,
  listedBytesMax,
  notCompensatedOf,
  stepEntries,
  stopEntry,
  stoppingEntry,
} from './outcome.js';

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

  test('says how long the function was at work, where that is counted', () => {
    expect(endingEntry({ kind: 'yielded' }, { ...context, activeMs: 70 })).toMatchObject({
      run: { kind: 'yielded', activeMs: 70 },
    });
  });

  test('of a run that failed or was cancelled says what could not be undone', () => {
    const of = { wake: 3, call, mismatch: undefined, notCompensated: [] };
    expect(stopEntry({ kind: 'failed', error }, of)).toEqual({
      type: 'run',
      run: { kind: 'failed', served: 3, call, error },
    });
    const memo = [
      { id: 'compensate(a)', type: 'compensate', attempt: 1, status: 'completed' },
      { id: 'compensate(b)', type: 'compensate', attempt: 3, status: 'failed', error },
      { id: 'compensate(c)', type: 'compensate', attempt: 0, status: 'registered' },
      { id: 'd', type: 'run', attempt: 1, status: 'failed', error },
    ] as const;
    const why = { name: 'unreachable', message: 'nobody there' };
    const notCompensated = notCompensatedOf(memo, why);
    expect(stopEntry({ kind: 'cancelled' }, { ...of, notCompensated })).toMatchObject({
      run: {
        kind: 'cancelled',
        notCompensated: [
          { step: 'compensate(b)', error },
          { step: 'compensate(c)', error: why },
        ],
      },
    });
  });

  test('lists what could not be undone within one message, however much it is', () => {
    const memo = Array.from({ length: 1_000 }, (_, index) => ({
      id: `compensate(${String(index).padStart(240, '-')})`,
      type: 'compensate' as const,
      attempt: 1,
      status: 'failed' as const,
      error: { name: '😀'.repeat(500), message: '😀'.repeat(4_000) },
    }));
    const left = notCompensatedOf(memo, error);
    expect(Buffer.byteLength(JSON.stringify(left))).toBeLessThan(listedBytesMax + 1_024);
    expect(left.length).toBeGreaterThan(500);
    expect(left.at(-1)).toMatchObject({
      step: memo[left.length - 1]!.id,
      error: { name: 'list_too_long', message: expect.stringContaining(String(1_001 - left.length)) },
    });
  });

  test.each([
    endingEntry({ kind: 'yielded', mismatch }, context),
    endingEntry({ kind: 'completed', mismatch }, context),
    endingEntry({ kind: 'threw', error, retryInMs: 50, mismatch }, context),
    stoppingEntry({ kind: 'cancelled' }, { call, mismatch }),
    stopEntry({ kind: 'failed', error }, { wake: 3, call, mismatch, notCompensated: [] }),
  ])('carries what does not fit the code, however it ends (%j)', (entry) => {
    expect(entry).toMatchObject({ run: { mismatch } });
  });
});

test('of an undoing it is recorded that it is done, not what it returned', () => {
  const base = { id: 'a', name: 'a', attempt: 1, startedAtMs: 1, endedAtMs: 2, status: 'completed' } as const;
  const entries = stepEntries([
    { ...base, type: 'compensate', output: '"large"' },
    { ...base, type: 'run', output: '"kept"' },
  ]);
  expect(JSON.parse(JSON.stringify(entries))).toEqual([
    { type: 'step', step: { ...base, type: 'compensate' } },
    { type: 'step', step: { ...base, type: 'run', output: '"kept"' } },
  ]);
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

  test('is not repeated when its attempts are used up', () => {
    expect(callFailedEntry(lost, { ...context, failures: 2 }, defaultRetryPolicy, 0.5)).toBeUndefined();
  });
});

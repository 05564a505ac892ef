import { expect, test } from '@jest/globals';
import type { StepRecord } from '@ironflow/schema';
import { stepColumns } from './step-columns.js';

const base = { id: 's', name: 's', attempt: 1, startedAtMs: 1 };
const error = { name: 'TypeError', message: 'no' };
const retrying = (attempt: number): StepRecord => ({
  ...base,
  attempt,
  type: 'run',
  status: 'retrying',
  error,
  retryInMs: 50,
  endedAtMs: 2,
});

const rowsOf = (steps: StepRecord[], ended = false): unknown[][] => {
  const columns = stepColumns([{ runId: 'r', steps, ended }]);
  return steps.map((_step, row) => columns.map((column) => column[row]));
};

test.each<[string, StepRecord, unknown[]]>([
  [
    'completed',
    { ...base, type: 'run', status: 'completed', output: '1', order: 3, endedAtMs: 2 },
    ['r', 's', 1, 's', 'run', 'completed', '1', null, 1, 2, 3, null, null],
  ],
  [
    'failed for good, by an SDK that gives no order',
    { ...base, type: 'run', status: 'failed', error, endedAtMs: 2 },
    ['r', 's', 1, 's', 'run', 'failed', null, JSON.stringify(error), 1, 2, null, null, null],
  ],
  [
    'retrying',
    retrying(1),
    ['r', 's', 1, 's', 'run', 'retrying', null, JSON.stringify(error), 1, 2, null, 50, null],
  ],
  [
    'waiting for a time',
    { ...base, type: 'sleep', status: 'waiting', due: { atMs: 9 } },
    ['r', 's', 1, 's', 'sleep', 'waiting', null, null, 1, null, null, null, 9],
  ],
  [
    'waiting for so long',
    { ...base, type: 'sleep', status: 'waiting', due: { inMs: 9 } },
    ['r', 's', 1, 's', 'sleep', 'waiting', null, null, 1, null, null, 9, null],
  ],
])('a step %s becomes a row', (_name, step, row) => {
  expect(rowsOf([step])).toEqual([row]);
});

test('an attempt that a later one follows is past its retry: errored, without a timer', () => {
  const [first, second] = rowsOf([retrying(1), retrying(2)]);
  expect([first![5], first![11]]).toEqual(['errored', null]);
  expect([second![5], second![11]]).toEqual(['retrying', 50]);
});

test('a run that ends leaves no timer behind', () => {
  expect(rowsOf([retrying(1)], true)[0]![11]).toBeNull();
});

test('no steps still give every column', () => {
  expect(stepColumns([{ runId: 'r', steps: [], ended: false }])).toEqual(
    Array.from({ length: 13 }, () => []),
  );
});

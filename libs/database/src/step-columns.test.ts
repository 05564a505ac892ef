import { expect, test } from '@jest/globals';
import { deriveRunId } from '@ironflow/schema';
import type { StepRecord } from '@ironflow/schema';
import { stepColumns, waitColumns } from './step-columns.js';

const base = { id: 's', name: 's', attempt: 1, startedAtMs: 1 };
const environmentId = '0190a000-0000-7000-8000-0000000000aa';
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

const rowsOf = (steps: StepRecord[], ended = false, stops = false): unknown[][] => {
  const columns = stepColumns([{ runId: 'r', environmentId, steps, ended, stops }]);
  return steps.map((_step, row) => columns.map((column) => column[row]));
};

test.each<[string, StepRecord, unknown[]]>([
  [
    'completed',
    { ...base, type: 'run', status: 'completed', output: '1', order: 3, endedAtMs: 2 },
    ['r', 's', 1, 's', 'run', 'completed', '1', null, 1, 2, 3, null, null, null],
  ],
  [
    'failed for good, by an SDK that gives no order',
    { ...base, type: 'run', status: 'failed', error, endedAtMs: 2 },
    ['r', 's', 1, 's', 'run', 'failed', null, JSON.stringify(error), 1, 2, null, null, null, null],
  ],
  [
    'retrying',
    retrying(1),
    ['r', 's', 1, 's', 'run', 'retrying', null, JSON.stringify(error), 1, 2, null, 50, null, null],
  ],
  [
    'waiting for a time',
    { ...base, type: 'sleep', status: 'waiting', due: { atMs: 9 } },
    ['r', 's', 1, 's', 'sleep', 'waiting', null, null, 1, null, null, null, 9, null],
  ],
  [
    'waiting for so long',
    { ...base, type: 'sleep', status: 'waiting', due: { inMs: 9 } },
    ['r', 's', 1, 's', 'sleep', 'waiting', null, null, 1, null, null, 9, null, null],
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

const eventWait: StepRecord = {
  ...base,
  type: 'wait_for_event',
  status: 'waiting',
  awaited: { kind: 'event', event: 'paid', condition: 'true', match: { path: 'order.id', value: 7 } },
  due: { inMs: 9 },
};
const childEvent = '0190a000-0000-7000-8000-0000000000bb';
const invoke: StepRecord = {
  ...base,
  id: 'i',
  type: 'invoke',
  status: 'waiting',
  awaited: { kind: 'run', eventId: childEvent, functionId: 'child' },
};
const childId = deriveRunId({ environmentId, eventId: childEvent, functionId: 'child' });

test('what a step waits for is a row of its own, in the order of the calls; nothing of a run that ends', () => {
  const signal: StepRecord = {
    ...base,
    id: 'n',
    type: 'wait_for_signal',
    status: 'waiting',
    awaited: { kind: 'signal', signal: 'go' },
    due: { inMs: 9 },
  };
  const recorded = {
    runId: 'r',
    environmentId,
    steps: [eventWait, retrying(1), signal, invoke],
    ended: false,
    stops: false,
  };
  const columns = waitColumns([recorded]);
  expect([0, 1, 2].map((row) => columns.map((column) => column[row]))).toEqual([
    ['r', 's', 1, 'event', 'paid', 'true', 'order.id', '7', 'number', null, 0],
    ['r', 'n', 1, 'signal', 'go', null, null, null, null, null, 1],
    ['r', 'i', 1, 'run', null, null, null, null, null, childId, 2],
  ]);
  expect(waitColumns([{ ...recorded, ended: true, stops: false }])).toEqual(
    Array.from({ length: 11 }, () => []),
  );
});

test('an invoked run is kept with its step, and without a timeout it has no timer', () => {
  expect(rowsOf([invoke])[0]!.slice(-3)).toEqual([null, null, childId]);
});

test('no steps still give every column', () => {
  expect(stepColumns([{ runId: 'r', environmentId, steps: [], ended: false, stops: false }])).toEqual(
    Array.from({ length: 14 }, () => []),
  );
});

import { expect, test } from '@jest/globals';
import type { RunDetail } from '@ironflow/sdk';
import { describeRun } from './runs.js';

const at = (ms: number): string => new Date(Date.UTC(2030, 0, 1) + ms).toISOString();
const run: RunDetail = {
  id: '00000000-0000-7000-8000-000000000001',
  appId: 'shop',
  functionId: 'order',
  functionHash: 'h',
  mode: 'pull',
  status: 'queued',
  eventId: '00000000-0000-7000-8000-000000000002',
  eventName: 'order.placed',
  correlationId: 'c',
  createdAt: at(0),
  steps: [],
};
const linesOf = (changes: Partial<RunDetail>): string[] =>
  describeRun({ ...run, ...changes }, Date.UTC(2030, 0, 1));

test('a run that was skipped says by which rule', () => {
  const lines = linesOf({ status: 'skipped', skipReason: 'start_deadline', endedAt: at(1_000) });
  expect(lines).toContain('status    skipped: start_deadline');
});

test('a run that was skipped names the one that its event joined', () => {
  const lines = linesOf({ status: 'skipped', skipReason: 'batch', joinedRunId: run.eventId, endedAt: at(1) });
  expect(lines).toEqual(expect.arrayContaining(['status    skipped: batch', `joined    ${run.eventId}`]));
});

test('a run that flow control keeps waiting says for what, and a batch how many events it has', () => {
  const lines = linesOf({
    waitingFor: { rule: 'batch', key: 'k', until: at(9) },
    batch: { count: 3, eventIds: [run.eventId] },
  });
  expect(lines).toEqual(
    expect.arrayContaining([
      'status    queued: batch',
      `waits for batch (k) until ${at(9)}`,
      'batch     3 events',
    ]),
  );
});

test('a run that is to end says how, or since when it was asked to, until it has', () => {
  expect(linesOf({ stoppingAs: 'failed', stopRequestedAt: at(5) })).toContain('stopping  to be failed');
  expect(linesOf({ stopRequestedAt: at(5) })).toContain(`stopping  ${at(5)}`);
  const ended = linesOf({ stoppingAs: 'failed', status: 'failed', endedAt: at(9) });
  expect(ended.filter((line) => line.startsWith('stopping'))).toEqual([]);
});

test('what a run could not undo is listed, a line each and without the power to break it', () => {
  const lines = linesOf({
    notCompensated: [
      { step: 'compensate(charge)', error: { name: 'Error', message: 'no\nanswer' } },
      { step: 'compensate(book)', error: { name: 'not_run', message: 'gone' } },
    ],
  });
  expect(lines.slice(-2)).toEqual([
    '\nnot undone  compensate(charge): Error: no answer',
    'not undone  compensate(book): not_run: gone',
  ]);
});

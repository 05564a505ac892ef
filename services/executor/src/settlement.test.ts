import { expect, test } from '@jest/globals';
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { createMetrics, createSpanRecorder } from '@ironflow/service';
import { limits } from '@ironflow/schema';
import type { JournalEntry, StepRecord } from '@ironflow/schema';
import type { ActiveRun } from './active-run.js';
import { createExecutorMetrics } from './executor-metrics.js';
import type { WriteResult } from './journal-chain.js';
import { memoize } from './run-position.js';
import { createSettlement } from './settlement.js';
import type { Settled } from './settlement.js';
import { createFakeRun } from './testing/fake-run.js';

const metrics = createExecutorMetrics(createMetrics({ service: 'executor' }));
const spans = createSpanRecorder({ service: 'executor' });
const settlement = createSettlement({ spans, metrics, now: () => 1, random: () => 0 });

const registered: StepRecord = {
  ...{ id: 'compensate(a)', name: 'compensate(a)', type: 'compensate', attempt: 0, status: 'registered' },
  ...{ startedAtMs: 1, endedAtMs: 1 },
};

/** A journal whose answers wait until they are given. */
function createHeldJournal() {
  const written: { entries: JournalEntry[]; answer: (result: WriteResult) => void }[] = [];
  const append = (entries: JournalEntry[]): Promise<WriteResult> =>
    new Promise((answer) => written.push({ entries, answer }));
  return { written, journal: { append, pin: () => undefined, hasAppended: () => false } };
}

const once: RetryPolicy = { ...defaultRetryPolicy, attempts: 1 };
const lost = { error: { name: 'worker_lost', message: 'm' } };

test.each<[string, (run: ActiveRun) => Promise<Settled>, string]>([
  ['is cancelled', (run) => settlement.stop(run), 'cancelled'],
  ['has lost its worker for good', (run) => settlement.endFailedCall(run, lost, undefined, once), 'failed'],
  ['can go no further', (run) => settlement.fail(run, lost.error), 'failed'],
])('a run that %s while what it registers is on its way is stopping first', async (_how, end, kind) => {
  const { journal, written } = createHeldJournal();
  const run = createFakeRun({ journal });
  const recorded = settlement.record(run, [registered]);
  const ended = end(run);
  expect(written.map(({ entries }) => entries)).toMatchObject([
    [{ step: registered }],
    [{ run: { kind: 'stopping', outcome: { kind } } }],
  ]);
  for (const { answer } of written) answer('appended');
  expect([await recorded, await ended]).toEqual(['settled', 'restart']);
});

test('a run whose list of what is not undone is refused ends without the list', async () => {
  const { journal, written } = createHeldJournal();
  const memo = new Map([[registered.id, memoize(registered)]]);
  const run = createFakeRun({ journal, memo, stopping: { kind: 'cancelled' } });
  const ended = settlement.fail(run, lost.error);
  expect(written[0]!.entries).toMatchObject([{ run: { notCompensated: [{ step: registered.id }] } }]);
  written[0]!.answer('too_large');
  await turn();
  expect(written[1]!.entries).toEqual([{ type: 'run', run: { kind: 'cancelled', served: 1 } }]);
  written[1]!.answer('too_large');
  expect([await ended, run.answers, written.length]).toEqual(['over', ['handed back'], 2]);
});

test('a run has no more steps than a run may have, and one that it has can be tried again', async () => {
  const step = (id: string): StepRecord => ({
    ...registered,
    id,
    type: 'run',
    attempt: 1,
    status: 'completed',
  });
  const ids = Array.from({ length: limits.stepsPerRunMax }, (_, index) => String(index));
  const memo = new Map(ids.map((id) => [id, memoize(step(id))]));
  const { journal, written } = createHeldJournal();
  void settlement.record(createFakeRun({ journal, memo }), [step('0'), step('1')]);
  void settlement.record(createFakeRun({ journal, memo }), [step('0'), step('one more')]);
  expect(written.map(({ entries }) => entries)).toMatchObject([
    [{ step: { id: '0' } }, { step: { id: '1' } }],
    [{ run: { kind: 'failed', error: { name: 'too_many_steps' } } }],
  ]);
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

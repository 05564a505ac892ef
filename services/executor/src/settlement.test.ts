import { expect, test } from '@jest/globals';
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { createMetrics, createSpanRecorder } from '@ironflow/service';
import type { JournalEntry, StepRecord } from '@ironflow/schema';
import type { ActiveRun } from './active-run.js';
import { createExecutorMetrics } from './executor-metrics.js';
import type { WriteResult } from './journal-chain.js';
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

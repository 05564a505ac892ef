import { expect, test } from '@jest/globals';
import type { AcceptedRun } from '@ironflow/database';
import type { JournalEntry } from '@ironflow/schema';
import { chainOf, completedStep, environmentId, run, runId, sleepStep } from '../test/journal.js';
import { announceAccepted, announceAgain } from './run-notice.js';

const accepted: AcceptedRun = {
  runId,
  scope: { environmentId, project: 'acme', env: 'prod' },
  eventId: runId,
  functionId: 'f',
  appId: 'shop',
  mode: 'push',
  status: 'running',
  journalSeq: 1,
  wake: 1,
  served: 0,
  correlationId: 'root',
  createdAtMs: 0,
  startedAtMs: 0,
};
const yielded = run({ kind: 'yielded', served: 1 });

test.each<[string, Partial<AcceptedRun>, JournalEntry[], string]>([
  ['progress', {}, [completedStep('a')], 'progressed'],
  ['progress that came with a timer', { nextDueInMs: 500 }, [sleepStep('a')], 'armed'],
  ['the end of an activation, with its timer', { nextDueInMs: 500 }, [sleepStep('a'), yielded], 'yielded'],
  [
    'the end of a run',
    { status: 'completed' },
    [run({ kind: 'completed', served: 1, output: '1' })],
    'completed',
  ],
])('%s is told under its own subject', (_, more, entries, what) => {
  const told = { run: { ...accepted, ...more }, messages: chainOf([entries]) };
  expect(announceAccepted(told)).toMatchObject({ what, notice: more });
});

test('steps are told once: whether those of a message that comes again were ever accepted is not known', () => {
  const told = { run: accepted, messages: chainOf([[completedStep('a')]]) };
  expect(announceAccepted(told).notice.steps).toEqual([{ id: 'a', attempt: 1, status: 'completed' }]);
  expect(announceAgain(told)).toMatchObject({ what: 'progressed', notice: { steps: [], journalSeq: 1 } });
});

test('an output that is claimed is left out of the notice: whoever needs it reads the run', () => {
  const outputClaim = { hash: `sha256-${'a'.repeat(43)}`, bytes: 70_000 };
  const entry = run({ kind: 'completed', served: 1, outputClaim });
  const told = { run: { ...accepted, status: 'completed' as const }, messages: chainOf([[entry]]) };
  expect(announceAccepted(told).notice).toMatchObject({ outputOmitted: true });
});

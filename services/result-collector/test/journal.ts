/** Journal messages as tests write them: entries in, placed messages out, chained by their sequences. */
import type { JournalEntry, JournalMessage, RunEntry } from '@ironflow/schema';
import type { PlacedMessage } from '../src/progress.js';

export const environmentId = '01a1fd94-0000-7000-8000-00000000000e';
export const runId = '01a1fd94-0000-7000-8000-000000000001';

export function messageOf(entries: JournalEntry[], changes: Partial<JournalMessage> = {}): JournalMessage {
  return {
    environmentId,
    runId,
    functionId: 'ship',
    prev: 0,
    writer: { activation: 1, delivery: 1, executor: 'test' },
    activatedAtMs: 1_000,
    entries,
    ...changes,
  };
}

export function chainOf(journal: JournalEntry[][], first = 1, prev = 0): PlacedMessage[] {
  return journal.map((entries, index) => ({
    sequence: first + index * 10,
    message: messageOf(entries, { prev: index === 0 ? prev : first + (index - 1) * 10 }),
  }));
}

export const run = (entry: RunEntry): JournalEntry => ({ type: 'run', run: entry });

export function completedStep(id: string, output = '1', attempt = 1): JournalEntry {
  const times = { startedAtMs: 1_000, endedAtMs: 1_001 };
  return {
    type: 'step',
    step: { id, name: id, attempt, type: 'run', status: 'completed', output, ...times },
  };
}

export function retryingStep(id: string, attempt = 1): JournalEntry {
  const times = { startedAtMs: 1_000, endedAtMs: 1_001 };
  const error = { name: 'Error', message: 'broken' };
  return {
    type: 'step',
    step: { id, name: id, attempt, type: 'run', status: 'retrying', error, retryInMs: 60_000, ...times },
  };
}

export function sleepStep(id: string, inMs = 60_000): JournalEntry {
  const due = { inMs };
  return {
    type: 'step',
    step: { id, name: id, attempt: 1, type: 'sleep', status: 'waiting', due, startedAtMs: 1_000 },
  };
}

import { expect, test } from '@jest/globals';
import type { AppendRequest, AppendResult, Journal } from '@ironflow/jetstream';
import type { JournalEntry, StepRecord } from '@ironflow/schema';
import { createJournalWriter } from './journal-writer.js';
import type { Lease } from './lease.js';

const scope = { environmentId: '00000000-0000-7000-8000-000000000001', project: 'p', env: 'e' };

/** A journal whose answers the test gives, one append at a time. */
function setup(over: { acceptedSequence?: number } = {}) {
  const requests: AppendRequest[] = [];
  const answers: ((result: AppendResult) => void)[] = [];
  const journal = {
    append: (request: AppendRequest) => {
      requests.push(request);
      return new Promise<AppendResult>((resolve) => answers.push(resolve));
    },
  } as Journal;
  let held = true;
  const lease = {
    isHeld: () => held,
    abandon: () => (held = false),
  } as unknown as Lease;
  const writer = createJournalWriter({
    journal,
    lease,
    scope,
    runId: '00000000-0000-7000-8000-000000000002',
    functionId: 'f',
    writer: { activation: 5, delivery: 1, executor: 'x' },
    activatedAtMs: 1,
    position: { prev: 7, lastSequence: 9 },
    traceparent: undefined,
    acceptedSequence: async () => over.acceptedSequence ?? 0,
    isConnected: () => true,
    pause: async () => undefined,
    observe: () => undefined,
  });
  const answer = async (result: AppendResult): Promise<void> => {
    answers.shift()!(result);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { writer, requests, answer, lose: () => (held = false), isHeld: () => held };
}

const step = (id: string): JournalEntry => ({
  type: 'step',
  step: {
    id,
    name: id,
    attempt: 1,
    type: 'run',
    status: 'completed',
    startedAtMs: 1,
    endedAtMs: 2,
  } as StepRecord,
});

test('what is asked for during an append goes out together as the next one, on the chain', async () => {
  const { writer, requests, answer } = setup();
  const first = writer.append([step('a')]);
  const second = writer.append([step('b')]);
  const third = writer.append([step('c')]);
  expect(requests).toHaveLength(1);
  expect(requests[0]).toMatchObject({ expectedSequence: 9, message: { prev: 7 }, counter: 1 });
  await answer({ kind: 'appended', sequence: 20 });
  expect(await first).toBe('appended');
  expect(requests[1]).toMatchObject({ expectedSequence: 20, message: { prev: 20 }, counter: 2 });
  expect(requests[1]!.message.entries).toHaveLength(2);
  await answer({ kind: 'appended', sequence: 21 });
  expect(await Promise.all([second, third])).toEqual(['appended', 'appended']);
});

test('an append without an answer is repeated with the same counter, so that it is stored once', async () => {
  const { writer, requests, answer } = setup();
  const appended = writer.append([step('a')]);
  await answer({ kind: 'unanswered' });
  await answer({ kind: 'full' });
  expect(requests.map((request) => request.counter)).toEqual([1, 1, 1]);
  await answer({ kind: 'appended', sequence: 20 });
  expect(await appended).toBe('appended');
});

test('nothing is sent once the lease is over', async () => {
  const { writer, requests, lose } = setup();
  lose();
  expect(await writer.append([step('a')])).toBe('lost');
  expect(requests).toHaveLength(0);
});

test('a newer writer ends it, also for everything that is asked for later', async () => {
  const { writer, requests, answer, isHeld } = setup();
  const appended = writer.append([step('a')]);
  await answer({ kind: 'superseded', by: { activation: 6, delivery: 1, executor: 'y' } });
  expect(await appended).toBe('lost');
  expect(isHeld()).toBe(false);
  expect(await writer.append([step('b')])).toBe('lost');
  expect(requests).toHaveLength(1);
});

test('after a trim it goes on only from where Postgres is', async () => {
  const right = setup({ acceptedSequence: 7 });
  const appended = right.writer.append([step('a')]);
  await right.answer({ kind: 'trimmed' });
  expect(right.requests[1]).toMatchObject({ expectedSequence: 0, message: { prev: 7 } });
  await right.answer({ kind: 'appended', sequence: 30 });
  expect(await appended).toBe('appended');

  const behind = setup({ acceptedSequence: 8 });
  const refused = behind.writer.append([step('a')]);
  await behind.answer({ kind: 'trimmed' });
  expect(await refused).toBe('restart');
});

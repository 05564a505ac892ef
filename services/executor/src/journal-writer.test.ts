import { expect, test } from '@jest/globals';
import { IronflowError } from '@ironflow/errors';
import type { AppendRequest, AppendResult, Journal } from '@ironflow/jetstream';
import type { JournalEntry, StepRecord } from '@ironflow/schema';
import { entryBytesMax } from './entry-size.js';
import { createJournalWriter } from './journal-writer.js';
import type { Lease } from './lease.js';

const scope = { environmentId: '00000000-0000-7000-8000-000000000001', project: 'p', env: 'e' };

/** A journal whose answers the test gives, one append at a time. */
interface Setup {
  acceptedSequence?: number;
  payloadBytesMax?: number;
  position?: { prev: number; lastSequence: number };
  positionAgeMs?: number;
}

function setup(over: Setup = {}) {
  const requests: AppendRequest[] = [];
  const answers: ((result: AppendResult) => void)[] = [];
  const failures: ((error: Error) => void)[] = [];
  const broken: unknown[] = [];
  let connected = true;
  const postgres: { failures: Error[] } = { failures: [] };
  const journal = {
    append: (request: AppendRequest) => {
      const bytes = JSON.stringify(request.message).length;
      if (bytes > (over.payloadBytesMax ?? Infinity)) {
        return Promise.reject(new IronflowError('too_large', 'message_refused', 'max payload'));
      }
      requests.push(request);
      return new Promise<AppendResult>((resolve, reject) => {
        answers.push(resolve);
        failures.push(reject);
      });
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
    position: over.position ?? { prev: 7, lastSequence: 9 },
    servedBefore: 2,
    positionAgeMs: () => over.positionAgeMs ?? 0,
    traceparent: undefined,
    acceptedSequence: async () => {
      const failure = postgres.failures.shift();
      if (failure !== undefined) throw failure;
      return over.acceptedSequence ?? 0;
    },
    isConnected: () => connected,
    pause: () => new Promise((resolve) => setImmediate(resolve)),
    observe: () => undefined,
    onBroken: (error) => broken.push(error),
  });
  const answer = async (result: AppendResult): Promise<void> => {
    for (let turns = 0; answers.length === 0 && turns < 20; turns += 1) await turn();
    answers.shift()!(result);
    await new Promise((resolve) => setImmediate(resolve));
  };
  const fail = (error: Error): void => failures.at(-1)!(error);
  const connect = (value: boolean): void => void (connected = value);
  const lose = (): boolean => (held = false);
  return { writer, requests, broken, postgres, answer, fail, connect, lose, isHeld: () => held };
}

const step = (id: string, output?: string): JournalEntry => ({
  type: 'step',
  step: {
    id,
    name: id,
    attempt: 1,
    type: 'run',
    status: 'completed',
    startedAtMs: 1,
    endedAtMs: 2,
    ...(output === undefined ? {} : { output }),
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

test('what is asked for is being appended, before its answer', () => {
  const { writer } = setup();
  expect(writer.hasAppended()).toBe(false);
  void writer.append([step('a')]);
  expect(writer.hasAppended()).toBe(true);
});

test('an append without an answer is repeated with the same counter, so that it is stored once', async () => {
  const { writer, requests, answer } = setup();
  const appended = writer.append([step('a')]);
  await answer({ kind: 'unanswered' });
  await answer({ kind: 'full' });
  await answer({ kind: 'appended', sequence: 20 });
  expect(requests.map((request) => request.counter)).toEqual([1, 1, 1]);
  expect(await appended).toBe('appended');
});

test('a late append to a journal that has become empty asks Postgres whether it was another writer’s meanwhile', async () => {
  const late = { position: { prev: 0, lastSequence: 0 }, positionAgeMs: 2_000 };
  const overtaken = setup({ ...late, acceptedSequence: 15 });
  const branch = overtaken.writer.append([step('a')]);
  await overtaken.answer({ kind: 'appended', sequence: 20 });
  expect(await branch).toBe('restart');
  const alone = setup({ ...late, acceptedSequence: 0 });
  const first = alone.writer.append([step('a')]);
  await alone.answer({ kind: 'appended', sequence: 20 });
  expect(await first).toBe('appended');
});

test('while Postgres is away nothing is thrown away: it is asked again as long as the lease is held', async () => {
  const away = () => new IronflowError('unavailable', 'database_unavailable', 'away');
  const late = { position: { prev: 0, lastSequence: 0 }, positionAgeMs: 2_000 };
  const back = setup(late);
  back.postgres.failures.push(away(), away());
  const first = back.writer.append([step('a')]);
  await back.answer({ kind: 'appended', sequence: 20 });
  expect(await first).toBe('appended');
  const trimmed = setup({ acceptedSequence: 7 });
  trimmed.postgres.failures.push(away());
  const second = trimmed.writer.append([step('a')]);
  await trimmed.answer({ kind: 'trimmed' });
  await trimmed.answer({ kind: 'appended', sequence: 30 });
  expect(await second).toBe('appended');

  const lost = setup(late);
  lost.postgres.failures.push(away());
  const third = lost.writer.append([step('a')]);
  const answered = lost.answer({ kind: 'appended', sequence: 20 });
  lost.lose();
  await answered;
  expect(await third).toBe('lost');
  expect([...back.broken, ...trimmed.broken, ...lost.broken]).toEqual([]);
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

test('while there is no connection nothing is sent, that the client would send later', async () => {
  const { writer, requests, connect, answer, lose } = setup();
  connect(false);
  const appended = writer.append([step('a')]);
  await turn();
  expect(requests).toHaveLength(0);
  connect(true);
  await turn();
  await answer({ kind: 'appended', sequence: 20 });
  expect(await appended).toBe('appended');

  connect(false);
  const late = writer.append([step('b')]);
  await turn();
  lose();
  connect(true);
  expect(await late).toBe('lost');
  expect(requests).toHaveLength(1);
});

const idsOf = (request: AppendRequest | undefined): string[] =>
  request?.message.entries.flatMap((entry) => (entry.type === 'step' ? [entry.step.id] : [])) ?? [];

test('what waits is joined as far as it fits into one message', async () => {
  const { writer, requests, answer } = setup();
  const large = 'x'.repeat(100_000);
  const results = [writer.append([step('first')])];
  for (const id of ['a', 'b', 'c', 'd', 'e']) results.push(writer.append([step(id, large)]));
  for (let sequence = 20; sequence < 24; sequence += 1) await answer({ kind: 'appended', sequence });
  expect(requests.map(idsOf)).toEqual([['first'], ['a', 'b'], ['c', 'd'], ['e']]);
  expect(requests.map(({ message }) => message.prev)).toEqual([7, 20, 21, 22]);
  expect(new Set(await Promise.all(results))).toEqual(new Set(['appended']));
});

test('one call with more than a message holds is several appends, in order', async () => {
  const { writer, requests, answer } = setup();
  const large = 'x'.repeat(200_000);
  const appended = writer.append([step('a', large), step('b', large), step('c')]);
  await answer({ kind: 'appended', sequence: 20 });
  await answer({ kind: 'appended', sequence: 21 });
  expect(requests.map(idsOf)).toEqual([['a'], ['b', 'c']]);
  expect(await appended).toBe('appended');
});

test('an entry that no message holds is told, and what comes after it still goes', async () => {
  const { writer, requests, answer } = setup({ payloadBytesMax: 1_000 });
  const appended = writer.append([step('a'), step('b'), step('c', 'x'.repeat(2_000)), step('d')]);
  await answer({ kind: 'appended', sequence: 20 });
  expect(await appended).toBe('too_large');
  const next = writer.append([step('e')]);
  await answer({ kind: 'appended', sequence: 21 });
  expect(await next).toBe('appended');
  expect(requests.map(idsOf)).toEqual([['a', 'b'], ['e']]);
});

test('each call is told of its own entries: those before the one that is too large were written', async () => {
  const { writer, requests, answer } = setup({ payloadBytesMax: 1_000 });
  const first = writer.append([step('first')]);
  const calls = [
    writer.append([step('a'), step('b')]),
    writer.append([step('c'), step('d', 'x'.repeat(2_000)), step('e')]),
    writer.append([step('f')]),
  ];
  await answer({ kind: 'appended', sequence: 20 });
  expect(await first).toBe('appended');
  await answer({ kind: 'appended', sequence: 21 });
  // The run has failed at the second: nothing of what waits behind it may pass for its end.
  expect(await Promise.all(calls)).toEqual(['appended', 'too_large', 'lost']);
  const failed = writer.append([step('failed')]);
  await answer({ kind: 'appended', sequence: 23 });
  expect(await failed).toBe('appended');
  expect(requests.map(idsOf)).toEqual([['first'], ['a', 'b', 'c'], ['failed']]);
});

test('an append that fails for an unknown reason is told of, and the run is read again', async () => {
  const { writer, broken, fail } = setup();
  const calls = [writer.append([step('a')]), writer.append([step('b')])];
  fail(new Error('nobody knows'));
  expect(await Promise.all(calls)).toEqual(['restart', 'restart']);
  expect(broken).toEqual([new Error('nobody knows')]);
});

test('the bound of an entry’s size is one, whatever its text', () => {
  for (const text of [
    'plain',
    '"'.repeat(5_000),
    '\\'.repeat(5_000),
    '\u20ac'.repeat(5_000),
    '\u0001'.repeat(5_000),
  ]) {
    const error = { name: text.slice(0, 256), message: text, stack: text };
    const entries: JournalEntry[] = [
      step(text.slice(0, 256), JSON.stringify(text)),
      { type: 'run', run: { kind: 'failed', served: 1, error } },
      { type: 'run', run: { kind: 'yielded', served: 1, retry: { attempt: 1, inMs: 1, error } } },
      { type: 'run', run: { kind: 'completed', served: 1, output: JSON.stringify(text) } },
    ];
    for (const entry of entries) {
      expect(Buffer.byteLength(JSON.stringify(entry))).toBeLessThanOrEqual(entryBytesMax(entry));
    }
  }
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

test.each([
  ['has the first try, of a stream that was wiped since', 12, 'restart'],
  ['has the repetition itself', 30, 'appended'],
  ['has neither yet', 0, 'appended'],
])(
  'a first append that is repeated and finds an empty journal, when Postgres %s',
  async (_, accepted, result) => {
    const { writer, answer, requests } = setup({
      acceptedSequence: accepted,
      position: { prev: 0, lastSequence: 0 },
    });
    const appended = writer.append([step('a')]);
    await answer({ kind: 'unanswered' });
    await answer({ kind: 'appended', sequence: 30 });
    expect(await appended).toBe(result);
    expect(requests).toHaveLength(2);
  },
);

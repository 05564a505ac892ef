import { expect, test } from '@jest/globals';
import { IronflowError } from '@ironflow/errors';
import { JournalUnreadableError } from '@ironflow/jetstream';
import type { StoredJournalMessage } from '@ironflow/jetstream';
import type { RunState } from '@ironflow/database';
import { loadRuns } from './run-loader.js';
import type { RunLoaderOptions } from './run-loader.js';

const scope = { environmentId: '00000000-0000-7000-8000-000000000001', project: 'p', env: 'e' };
const activations = Array.from({ length: 100 }, (_, index) => ({ runId: `run-${index}`, scope }));

function setup(over: {
  failure?: (runIds: readonly string[]) => Error | undefined;
  last?: (runId: string) => Error | undefined;
}) {
  let statements = 0;
  const store: RunLoaderOptions['store'] = {
    loadRuns: async (runIds) => {
      statements += 1;
      const failure = over.failure?.(runIds);
      if (failure !== undefined) throw failure;
      return new Map(runIds.map((runId) => [runId, { runId, journalSeq: 0 } as RunState]));
    },
    readClaimed: async () => [],
  };
  const journal: RunLoaderOptions['journal'] = {
    last: async (_scope, runId) => {
      const failure = over.last?.(runId);
      if (failure !== undefined) throw failure;
      return undefined;
    },
    after: async () => [],
  };
  return { load: () => loadRuns({ store, journal }, activations), statements: () => statements };
}

test('a run whose memo no statement can answer spoils its own activation only', async () => {
  const tooMuch = (runIds: readonly string[]) =>
    runIds.includes('run-42') ? new Error('invalid string length') : undefined;
  const { load, statements } = setup({ failure: tooMuch });
  const loaded = await load();
  expect(loaded.filter(({ kind }) => kind !== 'loaded')).toHaveLength(1);
  expect(loaded[42]).toMatchObject({ kind: 'unreadable', retryDelayMs: 5_000 });
  expect(loaded.map((one) => one.kind === 'loaded' && one.state.runId)[43]).toBe('run-43');
  // Halved seven times, two statements each time.
  expect(statements()).toBeLessThanOrEqual(15);
});

test('a database that is away is asked once for all of them', async () => {
  const away = new IronflowError('unavailable', 'database_unavailable', 'away');
  const { load, statements } = setup({ failure: () => away });
  for (const one of await load()) expect(one).toMatchObject({ kind: 'unreadable', retryDelayMs: 500 });
  expect(statements()).toBe(1);
});

test.each([
  ['cannot be read now', new JournalUnreadableError('RESULTS cannot be read'), 500],
  ['is of a newer version', new Error('message 7 of RESULTS is of a newer version'), 5_000],
])('a journal that %s spoils its own activation only', async (_what, failure, retryDelayMs) => {
  const { load } = setup({ last: (runId) => (runId === 'run-7' ? failure : undefined) });
  const loaded = await load();
  expect(loaded[7]).toEqual({ kind: 'unreadable', reason: failure.message, retryDelayMs });
  expect(loaded.filter(({ kind }) => kind === 'loaded')).toHaveLength(99);
});

test('a tail that was trimmed while it was read is not taken for the end of the run', async () => {
  // Postgres was at 1 when it was read; it took 2 and 3, and both were trimmed, before the journal was read after 1.
  const positions = [1, 3];
  const last = { sequence: 3, messageId: 'm', message: { prev: 2 } } as StoredJournalMessage;
  const loaded = await loadRuns(
    {
      store: {
        readClaimed: async () => [],
        loadRuns: async (runIds) => {
          const journalSeq = positions.shift()!;
          return new Map(runIds.map((runId) => [runId, { runId, journalSeq } as RunState]));
        },
      },
      journal: { last: async () => last, after: async () => [] },
    },
    activations.slice(0, 1),
  );
  expect(loaded).toMatchObject([{ kind: 'loaded', state: { journalSeq: 3 }, tail: { lastSequence: 3 } }]);
});

test.each([
  ['Postgres has it by then', [1, 3], { kind: 'loaded', state: { journalSeq: 3 } }],
  ['Postgres has not moved, as after a loss of NATS', [1, 1], { kind: 'unreadable', retryDelayMs: 500 }],
])(
  'a tail whose end was trimmed in the middle of the reading is not the whole: %s',
  async (_what, positions, expected) => {
    const [first, last] = [
      { sequence: 2, messageId: 'm', message: { prev: 1, entries: [] } },
      { sequence: 3, messageId: 'n', message: { prev: 2, entries: [] } },
    ] as unknown as [StoredJournalMessage, StoredJournalMessage];
    const lasts = [last, undefined];
    const loaded = await loadRuns(
      {
        store: {
          readClaimed: async () => [],
          loadRuns: async (runIds) => {
            const journalSeq = positions.shift()!;
            return new Map(runIds.map((runId) => [runId, { runId, journalSeq } as RunState]));
          },
        },
        journal: { last: async () => lasts.shift(), after: async () => [first] },
      },
      activations.slice(0, 1),
    );
    expect(loaded).toMatchObject([expected]);
  },
);

test('a branch at the end of a journal is read past, and costs one statement', async () => {
  let statements = 0;
  const branch = {
    sequence: 5,
    messageId: 'm',
    message: { prev: 4, entries: [] },
  } as unknown as StoredJournalMessage;
  const loaded = await loadRuns(
    {
      store: {
        readClaimed: async () => [],
        loadRuns: async (runIds) => {
          statements += 1;
          return new Map(runIds.map((runId) => [runId, { runId, journalSeq: 1 } as RunState]));
        },
      },
      journal: { last: async () => branch, after: async () => [branch] },
    },
    activations.slice(0, 1),
  );
  expect(loaded).toMatchObject([{ kind: 'loaded', tail: { messages: [{ sequence: 5 }] } }]);
  expect(statements).toBe(2);
});

test('where nothing is left of the journal Postgres is read once more: what it took since may have gone with it', async () => {
  let journalSeq = 3;
  const store: RunLoaderOptions['store'] = {
    loadRuns: async ([runId]) => {
      const state = { runId, journalSeq } as RunState;
      journalSeq = 5;
      return new Map([[runId!, state]]);
    },
    readClaimed: async () => [],
  };
  const journal: RunLoaderOptions['journal'] = { last: async () => undefined, after: async () => [] };
  expect(await loadRuns({ store, journal }, activations.slice(0, 1))).toMatchObject([
    { kind: 'loaded', state: { journalSeq: 5 } },
  ]);
});

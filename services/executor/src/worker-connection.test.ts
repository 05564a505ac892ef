import { describe, expect, test } from '@jest/globals';
import { createMetrics, createSpanRecorder } from '@ironflow/service';
import type { JournalEntry, Outcome, StepRecord } from '@ironflow/schema';
import type { ActiveRun } from './active-run.js';
import { createExecutorMetrics } from './executor-metrics.js';
import { createSettlement } from './settlement.js';
import { createFakeRun } from './testing/fake-run.js';
import type { FakeRun } from './testing/fake-run.js';
import { completed } from './testing/raw-worker.js';
import { createWorkerConnection } from './worker-connection.js';
import type { WorkerBuild, WorkerConnection } from './worker-connection.js';

const threw: Outcome = { kind: 'threw', error: { name: 'Error', message: 'm' }, retryInMs: 1 };

function setup(slots = 10, build: WorkerBuild = {}) {
  const metrics = createExecutorMetrics(createMetrics({ service: 'executor' }));
  const spans = createSpanRecorder({ service: 'executor' });
  let congested = false;
  let changes = 0;
  const sent: string[] = [];
  const logged: string[] = [];
  const connection = createWorkerConnection({
    socket: { send: ({ type }) => sent.push(type), isCongested: () => congested },
    slots,
    build,
    settlement: createSettlement({ spans, metrics, now: () => 1, random: () => 0 }),
    logs: {
      add: ({ runId }, call, lines) =>
        logged.push(...lines.map(({ message }) => `${runId} ${call} ${message}`)),
    },
    metrics,
    onChange: () => (changes += 1),
  });
  const pins: (string | undefined)[] = [];
  const written = new Map<string, JournalEntry[]>();
  const give = (functionId: string, probe?: number, over: Partial<ActiveRun> = {}): FakeRun => {
    const entries: JournalEntry[] = [];
    const journal: ActiveRun['journal'] = {
      append: async (more) => {
        entries.push(...more);
        return 'appended';
      },
      pin: (buildId) => pins.push(buildId),
      hasAppended: () => entries.length > 0,
    };
    const run = createFakeRun({ functionId, journal, ...over });
    written.set(run.runId, entries);
    const report = { endpoint: 'worker', ...(probe === undefined ? {} : { probe }) };
    void connection.drive(run, { policy: undefined, report });
    return run;
  };
  const callOf = (run: FakeRun): unknown => {
    const [entry] = written.get(run.runId)!;
    return entry?.type === 'run' && 'call' in entry.run ? entry.run.call : undefined;
  };
  return {
    connection,
    give,
    callOf,
    sent,
    logged,
    pins,
    congest: (is: boolean) => (congested = is),
    changes: () => changes,
  };
}

test('a lost worker is one failed call of each function, and a probe is told of whichever run came before it', () => {
  const { connection, give, callOf } = setup();
  const [first, probe, other, last] = [give('f'), give('f', 77), give('g'), give('f')];
  connection.lost();
  const failed = { endpoint: 'worker', succeeded: false };
  expect([first, probe, other, last].map(callOf)).toEqual([
    failed,
    { ...failed, probe: 77 },
    failed,
    undefined,
  ]);
});

test('a worker that drains has no slots, and what it has when it leaves is handed back without a word', () => {
  const { connection, give, callOf, sent } = setup(3);
  const run = give('f');
  expect([connection.slots(), connection.freeSlots()]).toEqual([3, 2]);
  void connection.receive({ type: 'drain' });
  expect([connection.slots(), connection.freeSlots()]).toEqual([0, 0]);
  expect(sent).toEqual(['activate', 'drained']);
  connection.lost();
  expect(run.answers).toEqual(['handed back']);
  expect(callOf(run)).toBeUndefined();
});

test('lines are kept of the runs that the worker has, and of those that it is told to abort', async () => {
  const { connection, give, sent, logged } = setup();
  const say = ({ runId, writer }: Pick<FakeRun, 'runId' | 'writer'>, message: string) =>
    connection.receive({
      ...{ type: 'log', runId, writer },
      lines: [{ sequence: 0, atMs: 1, level: 'info', message }],
    });
  const run = give('f');
  await say(run, 'at work');
  await say({ ...run, writer: { ...run.writer, delivery: 2 } }, 'of another lease');
  run.stop.request();
  await say(run, 'told to stop');
  await connection.receive({ type: 'aborted', runId: run.runId, writer: run.writer });
  await new Promise((resolve) => setImmediate(resolve));
  await say(run, 'long over');
  expect(logged).toEqual([`${run.runId} 0 at work`, `${run.runId} 0 told to stop`]);
  // Nobody is told of a line that is not kept.
  expect(sent).toEqual(['activate', 'abort']);
});

describe('a worker that pins runs', () => {
  const step = completed('a');
  const pinning = { buildId: 'old', pinRuns: true };
  const ended = (run: FakeRun, outcome: Outcome, records: StepRecord[] = []) =>
    ({ type: 'end', runId: run.runId, writer: run.writer, records, outcome }) as const;

  test('pins those that may be, once, with the first step that it records', async () => {
    const { connection, give, pins } = setup(3, pinning);
    const { runId, writer } = give('f', undefined, { isPinnable: true });
    expect(pins).toEqual([]);
    for (const sequence of [0, 1]) {
      await connection.receive({ type: 'record', runId, writer, sequence, records: [step] });
      expect(pins).toEqual(['old']);
    }
    await connection.receive(ended(give('f', undefined, { isPinnable: true }), { kind: 'yielded' }, [step]));
    expect(pins).toEqual(['old', 'old']);
    await connection.receive(ended(give('f'), { kind: 'yielded' }, [step]));
    expect(pins).toEqual(['old', 'old']);
  });

  test.each<[string, (connection: WorkerConnection, run: FakeRun) => unknown]>([
    ['declines', (of, run) => of.receive(ended(run, { kind: 'declined', reason: 'function_not_found' }))],
    ['answers badly', (of, run) => of.receive(ended(run, { kind: 'continue' }, [step]))],
    ['breaks the protocol with', (of, { runId, writer }) => of.receive({ type: 'malformed', runId, writer })],
    ['throws in before its first step', (of, run) => of.receive(ended(run, threw))],
    ['is lost with', (of) => of.lost()],
  ])('pins none that it %s', async (_how, leave) => {
    const { connection, give, pins } = setup(3, pinning);
    await leave(connection, give('f', undefined, { isPinnable: true }));
    expect(pins).toEqual([]);
  });

  test('is not every one that has a build', async () => {
    const { connection, give, pins } = setup(3, { buildId: 'old' });
    await connection.receive(ended(give('f', undefined, { isPinnable: true }), { kind: 'yielded' }, [step]));
    expect(pins).toEqual([]);
  });
});

test('a worker that is slow to read gets no runs until it has read, and keeps its slots', () => {
  const { connection, congest } = setup(3);
  congest(true);
  expect([connection.slots(), connection.freeSlots()]).toEqual([3, 0]);
  congest(false);
  expect(connection.freeSlots()).toBe(3);
});

test.each([
  ['is cancelled', 'cancelled'],
  ['fails', 'failed'],
] as const)('a run that %s while what it registers is being written is stopping', async (_, kind) => {
  const { connection, give } = setup();
  const written: JournalEntry[] = [];
  const writing: (() => void)[] = [];
  const journal: ActiveRun['journal'] = {
    append: (entries) => {
      written.push(...entries);
      return new Promise((resolve) => writing.push(() => resolve('appended')));
    },
    pin: () => undefined,
    hasAppended: () => false,
  };
  const { runId, writer, stop } = give('f', undefined, { journal });
  const undo = { id: 'compensate(a)', name: 'compensate(a)', type: 'compensate', attempt: 0 } as const;
  const registered = { ...undo, status: 'registered', startedAtMs: 1, endedAtMs: 1 } as const;
  void connection.receive({ type: 'record', runId, writer, sequence: 0, records: [registered] });
  if (kind === 'cancelled') stop.request();
  else {
    const outcome = { kind: 'threw', error: { name: 'Error', message: 'no' } } as const;
    void connection.receive({ type: 'end', runId, writer, records: [], outcome });
  }
  for (const done of writing) done();
  expect(written).toMatchObject([{ step: registered }, { run: { kind: 'stopping', outcome: { kind } } }]);
});

test('a record behind one that is refused leaves it to that one what becomes of the run', async () => {
  const { connection } = setup();
  const answers: ('too_large' | 'lost' | 'appended')[] = ['too_large', 'lost', 'appended'];
  const kinds: unknown[] = [];
  const journal: ActiveRun['journal'] = {
    append: async (entries) => {
      kinds.push(...entries.map((entry) => (entry.type === 'step' ? entry.step.id : entry.run.kind)));
      return answers.shift()!;
    },
    pin: () => undefined,
    hasAppended: () => true,
  };
  const run = createFakeRun({ journal, hasRegistered: true });
  const driven = connection.drive(run, { policy: undefined, report: { endpoint: 'worker' } });
  const lease = { runId: run.runId, writer: run.writer };
  await Promise.all(
    ['large', 'behind'].map((id, sequence) =>
      connection.receive({ type: 'record', ...lease, sequence, records: [completed(id)] }),
    ),
  );
  expect(kinds).toEqual(['large', 'behind', 'stopping']);
  // Not over: nobody would drive it to its end, and its lease would be kept.
  expect(await driven).toBe('restart');
});

test('a worker that was told to abort is not told again by a record that was on its way', async () => {
  const { connection, give, sent } = setup();
  const { runId, writer, stop } = give('f');
  stop.request();
  const records: StepRecord[] = [];
  await connection.receive({ type: 'record', runId, writer, sequence: 0, records });
  expect(sent).toEqual(['activate', 'abort']);
  const other = { ...writer, delivery: 9 };
  await connection.receive({ type: 'record', runId, writer: other, sequence: 0, records });
  expect(sent).toEqual(['activate', 'abort', 'abort']);
});

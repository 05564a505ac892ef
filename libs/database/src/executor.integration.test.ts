import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { limits } from '@ironflow/schema';
import type { StepRecord } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, newEvent, newRun, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createCollectorStore,
  createExecutorStore,
  createIngestStore,
  createSchedulerStore,
} from './index.js';
import type { ExecutorStore } from './index.js';

let platform: Platform;
let executor: ExecutorStore;

beforeAll(async () => {
  platform = await createPlatform();
  executor = createExecutorStore(platform.service);
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

test('a run is read with its event, letter for letter, and with what an activation has to know', async () => {
  const { scope } = platform.ours;
  const traceparent = '00-11111111111111111111111111111111-2222222222222222-01';
  const event = newEvent({
    data: '{"n":1.0,"a":"\\ud800"}',
    version: '2',
    correlationId: 'root',
    traceparent,
  });
  const [receipt] = await createIngestStore(platform.tenant).storeEvents(scope.environmentId, [event]);
  const run = newRun(scope, event.id, { traceparent, correlationId: 'root' });
  await createSchedulerStore(platform.service).routeEvents(
    [
      {
        id: event.id,
        awaitedAs: event.name,
        cancels: false,
        environmentId: scope.environmentId,
        registryVersion: 0,
      },
    ],
    [run],
  );
  expect(await executor.loadRuns([run.id])).toEqual(
    new Map([
      [
        run.id,
        {
          runId: run.id,
          scope,
          appId: 'shop',
          functionId: 'ship',
          status: 'queued',
          wake: 1,
          served: 0,
          failures: 0,
          stopRequested: false,
          begun: false,
          limited: false,
          startExpired: false,
          activeMs: 0,
          journalSeq: 0,
          registryVersion: 0,
          memoBytes: 0,
          steps: [],
          event: { ...event, receivedAtMs: receipt!.receivedAtMs },
          laterEvents: [],
          traceparent,
        },
      ],
    ]),
  );
});

describe('a batch', () => {
  /** Its run, and the runs of the events that joined it, as the decision pass leaves them. */
  async function startBatch(count: number) {
    const { scope } = platform.ours;
    const events = Array.from({ length: count }, (_, n) =>
      newEvent({ data: `{"n":${n}.0,"a":"\\ud800"}`, ...(n === 1 ? { version: '2' } : {}) }),
    );
    await createIngestStore(platform.tenant).storeEvents(scope.environmentId, events);
    const [run] = await startRuns(platform, scope, 1);
    await joinEvents(run!.id, [run!.eventId, ...events.map(({ id }) => id)]);
    return { run: run!, events };
  }

  async function joinEvents(runId: string, eventIds: readonly string[]): Promise<void> {
    const { environmentId } = platform.ours.scope;
    await platform.admin.query('update runs set limited = true where id = $1', [runId]);
    await platform.admin.query(
      `insert into run_events (run_id, place, environment_id, event_id)
        select $1, e.place - 1, $2, e.id from unnest($3::uuid[]) with ordinality as e (id, place)
        order by e.id desc`,
      [runId, environmentId, eventIds],
    );
  }

  const laterOf = async (runId: string) => (await executor.loadRuns([runId])).get(runId)!.laterEvents;

  test('is read with its later events, in order and letter for letter', async () => {
    const { run, events } = await startBatch(3);
    expect(await laterOf(run.id)).toEqual(
      events.map(({ id, name, data }, n) => ({
        ...{ id, name, data, correlationId: id, receivedAtMs: expect.any(Number) },
        ...(n === 1 ? { version: '2' } : {}),
      })),
    );
    const [other] = await startRuns(platform, platform.ours.scope, 1);
    expect(await laterOf(other!.id)).toEqual([]);
  });

  test('that is repeated, and repeated again, has them too', async () => {
    const { run, events } = await startBatch(2);
    const [again] = await startRuns(platform, platform.ours.scope, 1, { rerunOf: run.id });
    const [third] = await startRuns(platform, platform.ours.scope, 1, { rerunOf: again!.id });
    for (const { id } of [again!, third!]) {
      expect((await laterOf(id)).map((event) => event.id)).toEqual(events.map((event) => event.id));
    }
  });

  test('of the largest size is read whole', async () => {
    const { run, events } = await startBatch(limits.batchSizeMax - 1);
    expect((await laterOf(run.id)).map(({ id }) => id)).toEqual(events.map(({ id }) => id));
  });
});

test('of a step with several attempts the memo holds the last', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const base = { id: 'charge', name: 'charge', type: 'run', startedAtMs: 1, endedAtMs: 2 } as const;
  const error = { name: 'Error', message: 'no' };
  const steps: StepRecord[] = [
    { ...base, attempt: 1, status: 'retrying', retryInMs: 0, error },
    { ...base, attempt: 2, status: 'retrying', retryInMs: 0, error },
    { ...base, attempt: 10, status: 'completed', output: '"paid"' },
    { ...base, id: 'b', attempt: 1, status: 'completed' },
  ];
  await createCollectorStore(platform.service).apply([
    { runId: run!.id, environmentId: run!.environmentId, prev: 0, journalSeq: 7, steps, startedAtMs: 1 },
  ]);
  const state = (await executor.loadRuns([run!.id])).get(run!.id);
  expect(state).toMatchObject({ journalSeq: 7, memoBytes: 6 });
  expect(state!.steps).toEqual([
    { id: 'b', type: 'run', attempt: 1, status: 'completed' },
    { id: 'charge', type: 'run', attempt: 10, status: 'completed', output: '"paid"' },
  ]);
});

test('the memo has steps in the order in which they settled, then sleeps in the order of their ends', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const collector = createCollectorStore(platform.service);
  const scheduler = createSchedulerStore(platform.service);
  const position = { runId: run!.id, environmentId: run!.environmentId, startedAtMs: 1 };
  const settled = (id: string, order: number, status: 'completed' | 'failed' = 'completed'): StepRecord => ({
    ...{ id, name: id, type: 'run', attempt: 1, startedAtMs: 1, endedAtMs: 100 - order, order },
    ...(status === 'completed' ? { status } : { status, error: { name: 'Error', message: 'no' } }),
  });
  const nap = (id: string, due: { inMs: number } | { atMs: number }): StepRecord => ({
    ...{ id, name: id, type: 'sleep', attempt: 1, startedAtMs: 1, status: 'waiting', due },
  });
  const memo = async () => (await executor.loadRuns([run!.id])).get(run!.id)!.steps;

  const first = [settled('z', 0), nap('nap z', { atMs: 1_000 }), nap('never', { inMs: 3_600_000 })];
  await collector.apply([{ ...position, prev: 0, journalSeq: 1, steps: first }]);
  await scheduler.fireTimers(100);
  // The ended sleep took the place between, and two others end at once: the one that was due first goes first.
  const later = [nap('nap b', { atMs: 2_000 }), nap('nap a', { atMs: 3_000 })];
  const second = [settled('b', 3, 'failed'), settled('c', 2), ...later];
  await collector.apply([{ ...position, prev: 1, journalSeq: 2, steps: second }]);
  await scheduler.fireTimers(100);
  expect((await memo()).map(({ id, order }) => [id, order])).toEqual([
    ['z', 0],
    ['c', 2],
    ['b', 3],
    ['nap z', undefined],
    ['nap b', undefined],
    ['nap a', undefined],
    ['never', undefined],
  ]);
  expect((await memo())[2]).toEqual({
    ...{ id: 'b', type: 'run', attempt: 1, status: 'failed', order: 3 },
    error: { name: 'Error', message: 'no' },
  });
});

test('a memo is read up to its limit, and beyond it only weighed', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 2);
  // An umlaut is two bytes of what a replay has to be given, and one character.
  const half = (bytes: number): string => `"${'ü'.repeat(bytes / 2 - 1)}"`;
  const step = (id: string, output: string): StepRecord => ({
    ...{ id, name: id, type: 'run', attempt: 1, startedAtMs: 1, endedAtMs: 2 },
    ...{ status: 'completed', output },
  });
  const collector = createCollectorStore(platform.service);
  const applyTo = (index: number, prev: number, steps: StepRecord[]) => {
    const { id: runId, environmentId } = runs[index]!;
    return collector.apply([{ runId, environmentId, prev, journalSeq: prev + 1, steps, startedAtMs: 1 }]);
  };
  const output = half(limits.runMemoBytesMax / 2);
  for (const index of [0, 1]) await applyTo(index, 0, [step('a', output), step('b', output)]);
  await applyTo(1, 1, [step('c', '1')]);
  const states = await executor.loadRuns(runs.map(({ id }) => id));
  const [whole, beyond] = runs.map(({ id }) => states.get(id)!);
  expect(whole!.memoBytes).toBe(limits.runMemoBytesMax);
  expect(whole!.steps.map(({ id }) => id)).toEqual(['a', 'b']);
  expect(beyond!.memoBytes).toBe(limits.runMemoBytesMax + 1);
  expect(beyond!.steps).toEqual([]);
});

test('of what was undone the memo says that it was, not what it returned', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const { id: runId, environmentId } = run!;
  const undone: StepRecord = {
    ...{
      id: 'compensate(a)',
      name: 'compensate(a)',
      type: 'compensate',
      attempt: 1,
      startedAtMs: 1,
      endedAtMs: 2,
    },
    ...{ status: 'completed', output: '"large"' },
  };
  await createCollectorStore(platform.service).apply([
    { runId, environmentId, prev: 0, journalSeq: 1, steps: [undone], startedAtMs: 1 },
  ]);
  expect((await executor.loadRuns([runId])).get(runId)).toMatchObject({
    memoBytes: 0,
    steps: [{ id: 'compensate(a)', type: 'compensate', attempt: 1, status: 'completed' }],
  });
  expect((await executor.loadRuns([runId])).get(runId)!.steps[0]).not.toHaveProperty('output');
});

test('a batch across environments reads each run once; what does not exist is missing', async () => {
  const runs = [
    ...(await startRuns(platform, platform.ours.scope, 5)),
    ...(await startRuns(platform, platform.theirs.scope, 5)),
  ];
  const ids = runs.map((run) => run.id);
  const states = await executor.loadRuns([...ids, ...ids, freshId()]);
  expect([...states.keys()].sort()).toEqual(ids.sort());
  for (const run of runs) expect(states.get(run.id)!.scope.environmentId).toBe(run.environmentId);
  expect(await executor.loadRuns([])).toEqual(new Map());
});

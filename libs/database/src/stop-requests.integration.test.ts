import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import type { Queryable } from './database.js';
import { createApiStore, createCollectorStore, createExecutorStore, createSchedulerStore } from './index.js';
import type {
  ApiStore,
  CollectorStore,
  ExecutorStore,
  NewRun,
  RunProgress,
  SchedulerStore,
} from './index.js';
import { requestStop } from './run-detail.js';

let platform: Platform;
let api: ApiStore;
let collector: CollectorStore;
let executor: ExecutorStore;
let scheduler: SchedulerStore;
let ours: string;

beforeAll(async () => {
  platform = await createPlatform();
  api = createApiStore(platform.tenant);
  collector = createCollectorStore(platform.service);
  executor = createExecutorStore(platform.service);
  scheduler = createSchedulerStore(platform.service);
  ours = platform.ours.scope.environmentId;
});
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

async function startRun(): Promise<NewRun> {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  return run!;
}

function progress(run: NewRun, change: Partial<RunProgress>): RunProgress {
  const base = { runId: run.id, environmentId: run.environmentId, prev: 0, journalSeq: 1 };
  return { ...base, steps: [], startedAtMs: Date.now(), ...change };
}

const stateOf = async (run: NewRun) => (await executor.loadRuns([run.id])).get(run.id)!;

test('a run that waits is woken to stop, once, and says since when', async () => {
  const run = await startRun();
  await collector.apply([progress(run, { status: 'waiting', served: 1 })]);
  const answer = await api.requestStop(ours, run.id);
  expect(answer).toMatchObject({ kind: 'requested', run: { id: run.id, status: 'queued' } });
  expect(await api.requestStop(ours, run.id)).toEqual(answer);
  expect(await stateOf(run)).toMatchObject({ stopRequested: true, wake: 2, served: 1 });
  expect(await executor.stopRequested([run.id, freshId()])).toEqual([run.id]);
  expect((await api.getRun(ours, run.id))?.stopRequestedAt).toBeDefined();
});

test('a run that is stored just as it is asked is stopped, and not taken for one that has ended', async () => {
  const id = freshId();
  let statements = 0;
  const answer = await platform.tenant.inEnvironment(ours, (transaction) => {
    const query: Queryable['query'] = async (statement, values) => {
      statements += 1;
      if (statements === 2) await startRuns(platform, platform.ours.scope, 1, { id });
      return transaction.query(statement, values);
    };
    return requestStop({ query }, ours, id);
  });
  expect(answer).toMatchObject({ kind: 'requested', run: { id } });
  expect(await executor.stopRequested([id])).toEqual([id]);
});

test('a retry of its own does not put it off, whichever comes first', async () => {
  const retry = { status: 'waiting', served: 1, failures: 1, retryInMs: 60_000 } as const;
  const asked = await startRun();
  await api.requestStop(ours, asked.id);
  const [accepted] = await collector.apply([progress(asked, retry)]);
  expect(accepted).toMatchObject({ status: 'queued', wake: 2, served: 1 });
  const retrying = await startRun();
  await collector.apply([progress(retrying, retry)]);
  await api.requestStop(ours, retrying.id);
  expect(await stateOf(retrying)).toMatchObject({ status: 'queued', wake: 2, served: 1 });
});

test('without a worker nothing of it runs: it ends at once, with its timers', async () => {
  const run = await startRun();
  await collector.apply([progress(run, { status: 'waiting', served: 1, retryInMs: 60_000 })]);
  await api.requestStop(ours, run.id);
  expect(await scheduler.restForWorker([run.id])).toEqual([]);
  const stopping = await scheduler.stoppingRuns([run.id]);
  expect(stopping).toMatchObject([{ runId: run.id, journalSeq: 1, wake: 2, served: 1 }]);
  expect(await scheduler.endStopped([{ runId: run.id, journalSeq: 0 }])).toEqual(new Map());
  expect(await scheduler.endStopped(stopping)).toEqual(
    new Map([[run.id, { status: 'cancelled', awaitedBy: [], freed: [] }]]),
  );
  expect(await api.getRun(ours, run.id)).toMatchObject({ status: 'cancelled', endedAt: expect.anything() });
  const timers = await platform.admin.query('select 1 from timers where run_id = $1', [run.id]);
  expect(timers.rows).toEqual([]);
  // What an executor still had to say of it comes too late.
  expect(await collector.apply([progress(run, { prev: 1, journalSeq: 9, status: 'completed' })])).toEqual([]);
});

test('one that runs is left to whoever drives it, for a while', async () => {
  const run = await startRun();
  await collector.apply([progress(run, { status: 'running' })]);
  await api.requestStop(ours, run.id);
  expect(await scheduler.stoppingRuns([run.id])).toEqual([]);
  await platform.admin.query(
    "update runs set stop_requested_at = stop_requested_at - interval '16 seconds' where id = $1",
    [run.id],
  );
  expect(await scheduler.stoppingRuns([run.id])).toMatchObject([{ runId: run.id, journalSeq: 1 }]);
});

test('what has ended stays as it is; a cancelled one is told so again', async () => {
  const run = await startRun();
  await collector.apply([progress(run, { status: 'completed', output: '1' })]);
  expect(await api.requestStop(ours, run.id)).toEqual({ kind: 'ended', status: 'completed' });
  const cancelled = await startRun();
  await api.requestStop(ours, cancelled.id);
  await collector.apply([progress(cancelled, { status: 'cancelled' })]);
  expect(await api.requestStop(ours, cancelled.id)).toMatchObject({
    kind: 'requested',
    run: { status: 'cancelled' },
  });
});

test('a neighbour can neither stop a run nor learn that it is there', async () => {
  const run = await startRun();
  const theirs = platform.theirs.scope.environmentId;
  expect(await api.requestStop(theirs, run.id)).toEqual({ kind: 'not_found' });
  expect(await api.requestStop(ours, freshId())).toEqual({ kind: 'not_found' });
  expect(await stateOf(run)).toMatchObject({ stopRequested: false, wake: 1 });
});

test('runs that an event may cancel are found page by page, with what started them, and asked once', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 5, { functionId: 'cancelled' });
  const [ended, ...others] = runs.sort((a, b) => (a.id < b.id ? -1 : 1));
  const [theirs] = await startRuns(platform, platform.theirs.scope, 1, { functionId: 'cancelled' });
  await collector.apply([progress(ended!, { status: 'completed', served: 1 })]);
  await collector.apply([progress(others[1]!, { status: 'waiting', served: 1 })]);
  const event = {
    ...(await scheduler.triggersOf([theirs!.id])).get(theirs!.id)!,
    scope: platform.ours.scope,
  };
  const query = { event, functionId: 'cancelled', afterRunId: undefined, limit: 3 };
  const first = await scheduler.runsToCancel(query);
  const second = await scheduler.runsToCancel({ ...query, afterRunId: first.at(-1)!.runId });
  expect([...first, ...second].map(({ runId }) => runId)).toEqual(others.map(({ id }) => id));
  expect(first[0]!.trigger).toMatchObject({ id: others[0]!.eventId, data: '{"total":1}' });
  const ids = [...others, ended!].map(({ id }) => id);
  const asked = await scheduler.requestStopOf(ids);
  expect(asked.map(({ runId }) => runId).sort()).toEqual(others.map(({ id }) => id));
  expect(await scheduler.requestStopOf(ids)).toEqual([]);
  expect(await stateOf(others[1]!)).toMatchObject({ stopRequested: true, status: 'queued', wake: 2 });
  expect(await scheduler.runsToCancel(query)).toEqual([]);
});

test('a run that ends where it rests names those that wait for it; what it left behind is removed', async () => {
  const [parent, child] = await startRuns(platform, platform.ours.scope, 2);
  const awaited = { kind: 'run' as const, eventId: child!.eventId, functionId: child!.functionId };
  const step = { id: 'child', name: 'child', attempt: 1, startedAtMs: 1, status: 'waiting' as const };
  await collector.apply([
    progress(parent!, { status: 'waiting', served: 1, steps: [{ ...step, type: 'invoke', awaited }] }),
  ]);
  await api.requestStop(ours, child!.id);
  const stopping = await scheduler.stoppingRuns([child!.id]);
  expect(await scheduler.endStopped(stopping)).toEqual(
    new Map([[child!.id, { status: 'cancelled', awaitedBy: [parent!.id], freed: [] }]]),
  );
  // As one that was sent in the moment of the end leaves it.
  await platform.admin.query(
    `insert into signals (run_id, id, environment_id, name) values ($1, gen_random_uuid(), $2, 'go')`,
    [child!.id, ours],
  );
  expect(await scheduler.removeLeftBehind(10)).toBe(1);
  expect(await scheduler.removeLeftBehind(10)).toBe(0);
});

import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createApiStore, createCollectorStore, createExecutorStore, createSchedulerStore } from './index.js';
import type { CollectorStore, NewRun, RunProgress, SchedulerStore } from './index.js';

let platform: Platform;
let scheduler: SchedulerStore;
let collector: CollectorStore;

beforeAll(async () => {
  platform = await createPlatform();
  scheduler = createSchedulerStore(platform.service);
  collector = createCollectorStore(platform.service);
});
beforeEach(() => platform.admin.query('truncate runs, steps, timers'));
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

async function startRun(startDeadlineMs: number, changes: Partial<NewRun> = {}): Promise<NewRun> {
  const [run] = await startRuns(platform, platform.ours.scope, 1, { startDeadlineMs, ...changes });
  return run!;
}

function progress(run: NewRun, change: Partial<RunProgress>): RunProgress {
  const base = { runId: run.id, environmentId: run.environmentId, prev: 0, journalSeq: 1 };
  return { ...base, steps: [], ...change };
}

const putOff = { status: 'waiting', served: 1, retryInMs: 60_000 } as const;
const stateOf = async (run: NewRun) =>
  (await createExecutorStore(platform.service).loadRuns([run.id])).get(run.id)!;
const shown = (run: NewRun) =>
  createApiStore(platform.tenant).getRun(platform.ours.scope.environmentId, run.id);
const timersOf = async (run: NewRun) => {
  const text = 'select step_id, attempt from timers where run_id = $1';
  return (await platform.admin.query<{ step_id: string; attempt: number }>(text, [run.id])).rows;
};

test('only a run that has one gets a timer, which is due so long after the run was created', async () => {
  const [other] = await startRuns(platform, platform.ours.scope, 1);
  const run = await startRun(60_000);
  expect(await timersOf(other!)).toEqual([]);
  expect(await timersOf(run)).toEqual([{ step_id: 'start_deadline', attempt: 0 }]);
  const { rows } = await platform.admin.query(
    `select t.due_at - r.created_at = interval '60 seconds' as fits from timers t join runs r on r.id = t.run_id`,
  );
  expect(rows).toEqual([{ fits: true }]);
  expect(await scheduler.fireTimers(10)).toMatchObject({ fired: 0, woken: [] });
});

test.each(['queued', 'waiting_for_worker'] as const)(
  'a run that is still %s is woken to end',
  async (status) => {
    const run = await startRun(0, { status });
    const outcome = await scheduler.fireTimers(10);
    expect(outcome).toMatchObject({ fired: 1, woken: [{ runId: run.id }] });
    expect(await stateOf(run)).toMatchObject({ status: 'queued', wake: 2, startExpired: true, begun: false });
    expect(await timersOf(run)).toEqual([]);
  },
);

test('one that was only put off has not begun, and does not wait for its retry', async () => {
  const run = await startRun(0);
  await collector.apply([progress(run, putOff)]);
  expect((await scheduler.fireTimers(10)).woken).toMatchObject([{ runId: run.id }]);
  expect(await stateOf(run)).toMatchObject({ status: 'queued', startExpired: true, begun: false });
});

test('one that has begun is not woken, and is not ended where it rests', async () => {
  const run = await startRun(0);
  await collector.apply([progress(run, { status: 'waiting', served: 1, startedAtMs: 1 })]);
  expect(await scheduler.fireTimers(10)).toMatchObject({ fired: 1, woken: [] });
  expect(await stateOf(run)).toMatchObject({ status: 'waiting', wake: 1, startExpired: false, begun: true });
  expect(await timersOf(run)).toEqual([]);
});

test('one whose beginning is accepted after its time is woken once, and goes on', async () => {
  const run = await startRun(0);
  await scheduler.fireTimers(10);
  await collector.apply([progress(run, { status: 'waiting', served: 1, startedAtMs: 1 })]);
  expect(await stateOf(run)).toMatchObject({ status: 'queued', startExpired: true, begun: true });
  expect(await scheduler.stoppingRuns([run.id])).toEqual([]);
  expect(await scheduler.restForWorker([run.id])).toEqual([run.id]);
});

test('a step of the same name takes the timer’s place and is woken for', async () => {
  const run = await startRun(60_000);
  const nap = { id: 'start_deadline', name: 'start_deadline', type: 'sleep', attempt: 1 } as const;
  const step = { ...nap, startedAtMs: 1, status: 'waiting', due: { inMs: 0 } } as const;
  await collector.apply([progress(run, { status: 'waiting', served: 1, startedAtMs: 1, steps: [step] })]);
  expect((await scheduler.fireTimers(10)).woken).toMatchObject([{ runId: run.id }]);
  expect((await stateOf(run)).steps).toMatchObject([{ id: 'start_deadline', status: 'completed' }]);
});

test('without a worker it is skipped where it is, and whoever waits for it is told', async () => {
  const run = await startRun(0, { status: 'waiting_for_worker' });
  await scheduler.fireTimers(10);
  expect(await scheduler.restForWorker([run.id])).toEqual([]);
  const stopping = await scheduler.stoppingRuns([run.id]);
  expect(stopping).toMatchObject([{ runId: run.id, journalSeq: 0, wake: 2 }]);
  const ended = await scheduler.endStopped(stopping);
  expect(ended).toEqual(new Map([[run.id, { status: 'skipped', awaitedBy: [], freed: [] }]]));
  const detail = await shown(run);
  expect(detail).toMatchObject({ status: 'skipped', skipReason: 'start_deadline' });
  expect(detail).toHaveProperty('endedAt');
  expect(detail).not.toHaveProperty('startedAt');
});

test('one that was asked to stop as well is cancelled', async () => {
  const run = await startRun(0, { status: 'waiting_for_worker' });
  await scheduler.fireTimers(10);
  await createApiStore(platform.tenant).requestStop(run.environmentId, run.id);
  const ended = await scheduler.endStopped(await scheduler.stoppingRuns([run.id]));
  expect(ended.get(run.id)).toMatchObject({ status: 'cancelled' });
  expect(await shown(run)).not.toHaveProperty('skipReason');
});

test('what its executor says of it is its end: no dead letter, no event, no timer is left', async () => {
  const run = await startRun(60_000);
  await collector.apply([progress(run, putOff)]);
  const skipped = { status: 'skipped', skipReason: 'start_deadline', served: 1 } as const;
  const [accepted] = await collector.apply([progress(run, { ...skipped, prev: 1, journalSeq: 2 })]);
  expect(accepted).toMatchObject({ status: 'skipped' });
  expect(accepted).not.toHaveProperty('failureEventId');
  expect(await shown(run)).toMatchObject({ status: 'skipped', skipReason: 'start_deadline' });
  expect(await shown(run)).not.toHaveProperty('startedAt');
  expect(await timersOf(run)).toEqual([]);
  const letters = await platform.admin.query('select 1 from dead_letters where run_id = $1', [run.id]);
  expect(letters.rows).toEqual([]);
});

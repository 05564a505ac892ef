import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { StepRecord } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createApiStore, createCollectorStore, createExecutorStore, createSchedulerStore } from './index.js';
import type {
  ApiStore,
  CollectorStore,
  ExecutorStore,
  NewRun,
  RunProgress,
  SchedulerStore,
} from './index.js';

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

const error = { name: 'Error', message: 'declined' };
const base = { id: 'compensate(a)', name: 'compensate(a)', type: 'compensate', startedAtMs: 1 } as const;
const registered: StepRecord = { ...base, attempt: 0, status: 'registered', endedAtMs: 1 };
const retrying: StepRecord = {
  ...base,
  attempt: 1,
  status: 'retrying',
  error,
  retryInMs: 60_000,
  endedAtMs: 2,
};
const sleep: StepRecord = {
  id: 'night',
  name: 'night',
  type: 'sleep',
  attempt: 1,
  status: 'waiting',
  startedAtMs: 1,
  due: { inMs: 60_000 },
};
const wait: StepRecord = {
  id: 'answer',
  name: 'answer',
  type: 'wait_for_signal',
  attempt: 1,
  status: 'waiting',
  startedAtMs: 1,
  awaited: { kind: 'signal', signal: 'answer' },
  due: { inMs: 60_000 },
};

function progress(run: NewRun, change: Partial<RunProgress>): RunProgress {
  const from = { runId: run.id, environmentId: run.environmentId, prev: 0, journalSeq: 1 };
  return { ...from, steps: [], startedAtMs: Date.now(), ...change };
}

/** That has registered something, and waits. */
async function startRun(): Promise<NewRun> {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const steps = [registered, sleep, wait];
  await collector.apply([progress(run!, { steps, status: 'waiting', served: 1, activeMs: 30 })]);
  return run!;
}

const stateOf = async (run: NewRun) => (await executor.loadRuns([run.id])).get(run.id)!;
const rowsOf = async (table: string, run: NewRun) => {
  const text = `select step_id from ${table} where run_id = $1 order by step_id`;
  const { rows } = await platform.admin.query<{ step_id: string }>(text, [run.id]);
  return rows.map((row) => row.step_id);
};
const failing = {
  prev: 1,
  journalSeq: 2,
  status: 'running',
  stopping: 'failed',
  error,
  failures: 0,
} as const;

describe('a run that begins to stop', () => {
  test('waits for nothing else any more, and is read with what it will be', async () => {
    const run = await startRun();
    expect(await rowsOf('waits', run)).toHaveLength(1);
    await collector.apply([progress(run, failing)]);
    expect([await rowsOf('timers', run), await rowsOf('waits', run)]).toEqual([[], []]);
    expect(await stateOf(run)).toMatchObject({ stopping: { kind: 'failed', error }, activeMs: 30 });
    expect((await stateOf(run)).steps[0]).toMatchObject({ attempt: 0, status: 'registered' });
    expect(await api.getRun(ours, run.id)).toMatchObject({ status: 'running', stoppingAs: 'failed' });
  });

  test('keeps the timers of what it undoes, also those that come with the same batch', async () => {
    const run = await startRun();
    const steps = [{ ...sleep, id: 'late' }, retrying] as StepRecord[];
    const change = { ...failing, steps, status: 'waiting', served: 1, retryInMs: 60_000 } as const;
    await collector.apply([progress(run, change)]);
    expect(await rowsOf('timers', run)).toEqual(['', 'compensate(a)']);
  });

  test('takes its own timer away, so that it holds back nothing that is undone', async () => {
    const [run] = await startRuns(platform, platform.ours.scope, 1);
    const retry = { status: 'waiting', served: 1, failures: 1, retryInMs: 60_000 } as const;
    await collector.apply([progress(run!, { ...retry, steps: [registered] })]);
    expect(await rowsOf('timers', run!)).toHaveLength(1);
    await collector.apply([progress(run!, failing)]);
    expect(await rowsOf('timers', run!)).toEqual([]);
  });

  test('cannot be cancelled by anybody any more', async () => {
    const run = await startRun();
    await collector.apply([progress(run, failing)]);
    const answer = await api.requestStop(ours, run.id);
    expect(answer).toMatchObject({ kind: 'requested', run: { stoppingAs: 'failed' } });
    expect(await scheduler.requestStopOf([run.id])).toEqual([]);
    expect(await stateOf(run)).toMatchObject({ stopRequested: false, wake: 1 });
  });

  test('and was asked to has its own retry hold from then on', async () => {
    const run = await startRun();
    await api.requestStop(ours, run.id);
    const [accepted] = await collector.apply([
      progress(run, {
        prev: 1,
        journalSeq: 2,
        status: 'waiting',
        stopping: 'cancelled',
        served: 1,
        retryInMs: 60_000,
      }),
    ]);
    expect(accepted).toMatchObject({ status: 'waiting', wake: 2, served: 2 });
    const [later] = await collector.apply([
      progress(run, { prev: 2, journalSeq: 3, status: 'waiting', served: 1, retryInMs: 60_000 }),
    ]);
    expect(later).toMatchObject({ status: 'waiting' });
  });
});

test('a run that has stopped says what could not be undone, once it has ended', async () => {
  const run = await startRun();
  const notCompensated = [{ step: 'compensate(a)', error }];
  await collector.apply([progress(run, { ...failing, stopping: 'cancelled', error: undefined })]);
  await collector.apply([
    progress(run, { prev: 2, journalSeq: 3, status: 'cancelled', served: 1, notCompensated }),
  ]);
  const ended = await api.getRun(ours, run.id);
  expect(ended).toMatchObject({ status: 'cancelled', notCompensated });
  expect(ended).not.toHaveProperty('stoppingAs');
});

test('without a worker a cancelled run with something to undo rests until one comes', async () => {
  const run = await startRun();
  await api.requestStop(ours, run.id);
  expect(await scheduler.restForWorker([run.id])).toEqual([run.id]);
  expect(await scheduler.stoppingRuns([run.id])).toEqual([]);
  expect((await stateOf(run)).status).toBe('waiting_for_worker');
});

import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { StepRecord } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, newEvent, newRun, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createApiStore,
  createCollectorStore,
  createExecutorStore,
  createIngestStore,
  createSchedulerStore,
} from './index.js';
import type { IngestStore, NewEvent, NewRun, SchedulerStore } from './index.js';

let platform: Platform;
let ingest: IngestStore;
let scheduler: SchedulerStore;
let ours: string;
let theirs: string;

beforeAll(async () => {
  platform = await createPlatform();
  ingest = createIngestStore(platform.tenant);
  scheduler = createSchedulerStore(platform.service);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});
beforeEach(() => platform.admin.query('truncate runs, steps, timers, unrouted_events'));
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const base = { attempt: 1, startedAtMs: 1_000 };
const ran = (id: string, order: number, more: Partial<StepRecord> = {}): StepRecord =>
  ({
    ...{
      ...base,
      id,
      name: id,
      type: 'run',
      status: 'completed',
      order,
      endedAtMs: 2_000,
      output: `"${id}"`,
    },
    ...more,
  }) as StepRecord;
const slept = (id: string): StepRecord => ({
  ...{ ...base, id, name: id, type: 'sleep', status: 'waiting', due: { inMs: 0 } },
});

/** A run of ours that has ended with these steps; its sleeps ended by their timers, in this order. */
async function endedRun(steps: StepRecord[], status: 'failed' | 'cancelled' = 'failed'): Promise<NewRun> {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const collector = createCollectorStore(platform.service);
  const progress = { runId: run!.id, environmentId: ours, startedAtMs: 1, served: 1 };
  const sleeps = steps.filter(({ status: stepStatus }) => stepStatus === 'waiting');
  let journalSeq = 0;
  const next = () => ({ ...progress, prev: journalSeq, journalSeq: (journalSeq += 1) });
  for (const sleep of sleeps) {
    await collector.apply([{ ...next(), steps: [sleep], status: 'waiting' }]);
    await scheduler.fireTimers(10);
  }
  await collector.apply([{ ...next(), steps: steps.filter((step) => !sleeps.includes(step)), status }]);
  return run!;
}

function rerunEvent(run: NewRun, changes: Partial<NewEvent> = {}): NewEvent {
  return newEvent({ source: 'rerun', functionId: run.functionId, rerunOf: run.id, ...changes });
}

/** What the scheduler does with it. */
async function routeRerun(run: NewRun, rerunFromStep?: string, scope = platform.ours.scope): Promise<NewRun> {
  const event = rerunEvent(run, { rerunFromStep });
  await ingest.storeEvents(scope.environmentId, [event]);
  const rerun = newRun(scope, event.id, { rerunOf: run.id, rerunFromStep });
  const plain = newEvent();
  await ingest.storeEvents(scope.environmentId, [plain]);
  const toRoute = [event, plain].map(({ id }) => ({
    id,
    awaitedAs: undefined,
    cancels: false,
    environmentId: scope.environmentId,
    registryVersion: 0,
  }));
  const outcome = await scheduler.routeEvents(toRoute, [newRun(scope, plain.id), rerun]);
  expect(outcome.routed).toHaveLength(2);
  return rerun;
}

async function memoOf(run: NewRun): Promise<string[]> {
  const state = (await createExecutorStore(platform.service).loadRuns([run.id])).get(run.id)!;
  return state.steps.map(({ id }) => id);
}

test('the event of a rerun is stored with what it asks for, beside ordinary ones, and found so by the sweep', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const event = rerunEvent(run!, { rerunFromStep: 'charge' });
  await ingest.storeEvents(ours, [newEvent(), event]);
  const unrouted = await scheduler.unroutedEvents({ olderThanMs: 0, limit: 10 });
  expect(unrouted.find(({ id }) => id === event.id)).toMatchObject({
    source: 'rerun',
    functionId: 'ship',
    rerunOf: run!.id,
    rerunFromStep: 'charge',
  });
  const ordinary = unrouted.find(({ id }) => id !== event.id)!;
  expect([ordinary.functionId, ordinary.rerunOf, ordinary.rerunFromStep]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});

test('an idempotency key repeats one run, and no other nor any event of the same name', async () => {
  const [run, other] = await startRuns(platform, platform.ours.scope, 2);
  const idempotencyKey = `key-${freshId()}`;
  const first = rerunEvent(run!, { idempotencyKey });
  await ingest.storeEvents(ours, [first]);
  const [again] = await ingest.storeEvents(ours, [rerunEvent(run!, { idempotencyKey })]);
  expect(again).toMatchObject({ id: first.id, duplicate: true });
  const reused = { code: 'idempotency_key_reused' };
  await expect(ingest.storeEvents(ours, [rerunEvent(other!, { idempotencyKey })])).rejects.toMatchObject(
    reused,
  );
  await expect(ingest.storeEvents(ours, [newEvent({ idempotencyKey })])).rejects.toMatchObject(reused);
  const together = `key-${freshId()}`;
  const both = [rerunEvent(run!, { idempotencyKey: together }), newEvent({ idempotencyKey: together })];
  await expect(ingest.storeEvents(ours, both)).rejects.toMatchObject(reused);
});

test('what is read of a run before it is repeated is its own environment’s only', async () => {
  const run = await endedRun([ran('charge', 0)]);
  expect(await ingest.runToRepeat({ environmentId: ours, runId: run.id, stepId: 'charge' })).toMatchObject({
    id: run.id,
    functionId: 'ship',
    status: 'failed',
    hasStep: true,
    event: { id: run.eventId, name: 'order.created', data: '{"total":1}' },
  });
  const unknownStep = await ingest.runToRepeat({ environmentId: ours, runId: run.id, stepId: 'other' });
  expect(unknownStep!.hasStep).toBe(false);
  expect(await ingest.runToRepeat({ environmentId: theirs, runId: run.id })).toBeUndefined();
  expect(await ingest.runToRepeat({ environmentId: ours, runId: freshId() })).toBeUndefined();
});

test('a whole rerun begins without steps, and says which run it repeats', async () => {
  const run = await endedRun([ran('a', 0)]);
  const rerun = await routeRerun(run);
  expect(await memoOf(rerun)).toEqual([]);
  expect(await createApiStore(platform.tenant).getRun(ours, rerun.id)).toMatchObject({
    rerunOf: run.id,
    steps: [],
  });
  expect((await createApiStore(platform.tenant).getRun(ours, run.id))!.rerunOf).toBeUndefined();
});

// The clocks of workers are years behind Postgres' here: only places tell what settled before what.
const nap = slept('nap');
const doze = slept('doze');
const failed = { status: 'failed', error: { name: 'E', message: 'm' }, attempt: 2 } as Partial<StepRecord>;
const steps = [ran('a', 0), nap, ran('b', 2), ran('c', 3, failed), doze, ran('d', 5)];
test.each([
  ['a', []],
  ['nap', ['a']],
  ['b', ['a', 'nap']],
  ['c', ['a', 'b', 'nap']],
  ['doze', ['a', 'b', 'c', 'nap']],
  ['d', ['a', 'b', 'c', 'nap', 'doze']],
])('from %s a run has the memo of what settled before: %j', async (fromStep, expected) => {
  const rerun = await routeRerun(await endedRun(steps), fromStep);
  expect(await memoOf(rerun)).toEqual(expected);
});

test('what is taken over is as it was, and only of the step’s last attempt', async () => {
  const retrying = { ...ran('a', 0), status: 'retrying', error: { name: 'E', message: 'm' }, retryInMs: 1 };
  const run = await endedRun([retrying as StepRecord, ran('a', 0, { attempt: 2 }), ran('b', 1)]);
  const rerun = await routeRerun(run, 'b');
  const read = `select step_id, attempt, name, type, status, output::text, error, started_at, ended_at, due_at,
    settle_order, environment_id from steps where run_id = $1 and step_id = 'a' and attempt = 2`;
  const [original, copy] = await Promise.all(
    [run.id, rerun.id].map((id) => platform.admin.query(read, [id])),
  );
  expect(copy!.rows).toEqual(original!.rows);
  const all = await platform.admin.query('select attempt from steps where run_id = $1', [rerun.id]);
  expect(all.rows).toEqual([{ attempt: 2 }]);
});

test('from a step that never settled it has all that did, and nothing that waits or is to be retried', async () => {
  const retrying = {
    ...ran('b', 0),
    status: 'retrying',
    error: { name: 'E', message: 'm' },
    retryInMs: 9_000,
  };
  const night = { ...slept('night'), due: { inMs: 3_600_000 } } as StepRecord;
  const run = await endedRun([ran('a', 0), night, retrying as StepRecord], 'cancelled');
  for (const step of ['b', 'night']) expect(await memoOf(await routeRerun(run, step))).toEqual(['a']);
});

test('runs that are repeated in one batch take over each its own, and a whole one nothing', async () => {
  const one = await endedRun([ran('a', 0), ran('b', 1)]);
  const other = await endedRun([ran('c', 0), ran('d', 1)]);
  const asked = [
    { run: one, rerunFromStep: 'b' },
    { run: other, rerunFromStep: 'd' },
    { run: other, rerunFromStep: 'c' },
    { run: one, rerunFromStep: undefined },
  ].map(({ run, rerunFromStep }) => ({ run, rerunFromStep, event: rerunEvent(run, { rerunFromStep }) }));
  await ingest.storeEvents(
    ours,
    asked.map(({ event }) => event),
  );
  const reruns = asked.map(({ run, rerunFromStep, event }) =>
    newRun(platform.ours.scope, event.id, { rerunOf: run.id, rerunFromStep }),
  );
  const toRoute = asked.map(({ event }) => ({
    id: event.id,
    awaitedAs: undefined,
    cancels: false,
    environmentId: ours,
    registryVersion: 0,
  }));
  await scheduler.routeEvents(toRoute, reruns);
  expect(await Promise.all(reruns.map(memoOf))).toEqual([['a'], ['c'], [], []]);
  // Routed again, as by a scheduler that was late, nothing changes.
  expect((await scheduler.routeEvents(toRoute, reruns)).settled).toHaveLength(4);
  expect(await Promise.all(reruns.map(memoOf))).toEqual([['a'], ['c'], [], []]);
});

test('nothing is taken over from a neighbour’s run', async () => {
  const run = await endedRun([ran('a', 0), ran('b', 1)]);
  expect(await memoOf(await routeRerun(run, 'b', platform.theirs.scope))).toEqual([]);
});

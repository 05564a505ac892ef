import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { eventually, stopSharedServers } from '@ironflow/testing';
import type { StepRecord } from '@ironflow/schema';
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

const sleep = (due: { inMs: number } | { atMs: number }, id = 'nap'): StepRecord => ({
  id,
  name: id,
  type: 'sleep',
  attempt: 1,
  startedAtMs: 1,
  status: 'waiting',
  due,
});
const failed = (attempt: number, retryInMs: number): StepRecord => ({
  id: 'charge',
  name: 'charge',
  type: 'run',
  attempt,
  startedAtMs: 1,
  endedAtMs: 2,
  status: 'retrying',
  retryInMs,
  error: { name: 'Error', message: 'no' },
});

function yielding(run: NewRun, steps: StepRecord[], changes: Partial<RunProgress> = {}): RunProgress {
  const { id: runId, environmentId } = run;
  return {
    runId,
    environmentId,
    prev: 0,
    journalSeq: 1,
    steps,
    startedAtMs: 1,
    status: 'waiting',
    served: 1,
    ...changes,
  };
}

async function stateOf(run: NewRun) {
  return (await createExecutorStore(platform.service).loadRuns([run.id])).get(run.id)!;
}

test('a timer fires once it is due and not before: step, run and wake-up change together', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 2);
  const [due, later] = runs;
  await collector.apply([
    yielding(due!, [sleep({ inMs: 0 }), failed(1, 0), sleep({ inMs: 60_000 }, 'night')]),
    yielding(later!, [sleep({ inMs: 60_000 })]),
  ]);
  const outcome = await scheduler.fireTimers(10);
  expect(outcome.fired).toBe(2);
  expect(outcome.woken.map((run) => run.runId)).toEqual([due!.id]);
  expect(await stateOf(due!)).toMatchObject({ status: 'queued', wake: 2, served: 1 });
  expect((await stateOf(due!)).steps.map(({ id, status }) => [id, status])).toEqual([
    ['charge', 'errored'],
    ['nap', 'completed'],
    ['night', 'waiting'],
  ]);
  expect(await stateOf(later!)).toMatchObject({ status: 'waiting', wake: 1, steps: [{ status: 'waiting' }] });
  expect(await scheduler.fireTimers(10)).toMatchObject({ woken: [], fired: 0, held: [], ended: [] });
  for (const inMs of [outcome.nextDueInMs, await scheduler.nextDueInMs()]) {
    expect(inMs).toBeGreaterThan(55_000);
    expect(inMs).toBeLessThanOrEqual(60_000);
  }
});

test('of runs that wait for a breaker those of its function are due at once, page by page', async () => {
  const putOff = { retryInMs: 3_600_000, deferredReason: 'circuit_open' };
  const ours = await startRuns(platform, platform.ours.scope, 5);
  const [called, retried] = await startRuns(platform, platform.ours.scope, 2);
  const others = await startRuns(platform, platform.ours.scope, 1, { functionId: 'other' });
  const theirs = await startRuns(platform, platform.theirs.scope, 1);
  const waiting = [...ours, called!, ...others, ...theirs];
  await collector.apply(waiting.map((run) => yielding(run, [], putOff)));
  // Called since, and asleep; its timer is another.
  const asleep = yielding(called!, [sleep({ inMs: 3_600_000 })], { prev: 1, journalSeq: 2 });
  const failing = yielding(retried!, [], { retryInMs: 3_600_000, failures: 1 });
  await collector.apply([asleep, failing]);
  const { environmentId } = platform.ours.scope;
  const { functionId } = ours[0]!;
  const query = { environmentId, functionId, limit: 3 };
  const ids = ours.map(({ id }) => id).sort();
  const busy = ids[1]!;
  await platform.service.transaction(async (transaction) => {
    await transaction.query({ name: '', text: 'select 1 from runs where id = $1 for update' }, [busy]);
    const first = await scheduler.endCircuitWaits({ ...query, after: undefined });
    expect(first).toEqual([ids[0], ids[2], ids[3]]);
    expect(await scheduler.endCircuitWaits({ ...query, after: first.at(-1) })).toEqual([ids[4]]);
  });
  const { woken } = await scheduler.fireTimers(10);
  expect(woken.map(({ runId }) => runId).sort()).toEqual(ids.filter((id) => id !== busy));
  expect(await scheduler.endCircuitWaits({ ...query, after: undefined })).toEqual([busy]);
  expect((await scheduler.fireTimers(10)).woken).toMatchObject([{ runId: busy }]);
  // Those that go on wait for it no more.
  expect(await scheduler.endCircuitWaits({ ...query, after: undefined })).toEqual([]);
});

test('without timers nothing is next', async () => {
  expect(await scheduler.nextDueInMs()).toBeUndefined();
});

test('a sleep until a time that has passed is due at once', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const [accepted] = await collector.apply([yielding(run!, [sleep({ atMs: Date.now() - 5_000 })])]);
  expect(accepted!.nextDueInMs).toBeLessThan(-4_000);
  expect((await scheduler.fireTimers(10)).fired).toBe(1);
});

test('two schedulers at once fire every timer once, while collectors apply to the same runs', async () => {
  const runs = [
    ...(await startRuns(platform, platform.ours.scope, 60)),
    ...(await startRuns(platform, platform.theirs.scope, 60)),
  ];
  await collector.apply(runs.map((run) => yielding(run, [sleep({ inMs: 0 })])));
  const applying = runs.map((run, index) =>
    collector.apply([yielding(run, [failed(1, index % 2)], { prev: 1, journalSeq: 2, retryInMs: 0 })]),
  );
  const woken: string[] = [];
  const fireAll = async (): Promise<void> => {
    for (let left = true; left;) {
      woken.push(...(await scheduler.fireTimers(7)).woken.map((run) => run.runId));
      left = (await scheduler.nextDueInMs()) !== undefined;
    }
  };
  const [accepted] = await Promise.all([Promise.all(applying), fireAll(), fireAll()]);
  expect(accepted.flat()).toHaveLength(runs.length);
  await fireAll();
  expect(new Set(woken)).toEqual(new Set(runs.map((run) => run.id)));
  const { rows } = await platform.admin.query(
    `select s.step_id, s.status, count(*)::int from steps s group by 1, 2 order by 1`,
  );
  expect(rows).toEqual([
    { step_id: 'charge', status: 'errored', count: runs.length },
    { step_id: 'nap', status: 'completed', count: runs.length },
  ]);
  // Every pass that took timers of a run counts once: between one pass and one for each of its three timers.
  const wakes = await platform.admin.query<{ wakes: number }>(
    'select sum(wake)::int - count(*)::int as wakes from runs',
  );
  expect(wakes.rows[0]!.wakes).toBe(woken.length);
});

test('runs that somebody is applying to are passed over and their timers stay due', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 2);
  const [busy, free] = runs;
  const night = sleep({ inMs: 60_000 }, 'night');
  await collector.apply([
    yielding(busy!, [sleep({ inMs: 0 })]),
    yielding(free!, [sleep({ inMs: 0 }), night]),
  ]);
  await platform.service.transaction(async (transaction) => {
    await transaction.query({ name: '', text: 'select 1 from runs where id = $1 for update' }, [busy!.id]);
    const outcome = await scheduler.fireTimers(10);
    expect(outcome.woken.map((run) => run.runId)).toEqual([free!.id]);
    expect(outcome.nextDueInMs).toBeUndefined();
  });
  expect((await scheduler.fireTimers(10)).woken.map((run) => run.runId)).toEqual([busy!.id]);
});

test('a timer of a run that ended wakes nothing; ending takes the timers away', async () => {
  const [run, other] = await startRuns(platform, platform.ours.scope, 2);
  await collector.apply([yielding(run!, [sleep({ inMs: 0 })]), yielding(other!, [sleep({ inMs: 0 })])]);
  await platform.admin.query(`update runs set status = 'cancelled' where id = $1`, [other!.id]);
  const end = { prev: 1, journalSeq: 2, status: 'failed', error: { name: 'Error', message: 'no' } } as const;
  await collector.apply([yielding(run!, [failed(1, 0)], { ...end, retryInMs: 0 })]);
  expect(await scheduler.fireTimers(10)).toMatchObject({ woken: [], fired: 1, held: [], ended: [] });
  expect(await stateOf(run!)).toMatchObject({ status: 'failed', wake: 1 });
  expect(await stateOf(other!)).toMatchObject({ status: 'cancelled', wake: 1 });
});

test('a run that rests for want of a worker is woken but not to be activated', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  await collector.apply([yielding(run!, [sleep({ inMs: 0 })], { status: 'queued', served: 0 })]);
  await scheduler.restForWorker([run!.id]);
  expect(await scheduler.fireTimers(10)).toMatchObject({ woken: [], fired: 1, held: [], ended: [] });
  expect(await stateOf(run!)).toMatchObject({ status: 'waiting_for_worker', wake: 2 });
});

test("a sleep that ends before its run's retry is due leaves the run alone; the retry finds it ended", async () => {
  const [before, after] = await startRuns(platform, platform.ours.scope, 2);
  const yielded = { status: 'waiting', served: 1, retryInMs: 60_000 } as const;
  // Of the one the call fails before the sleep ends, of the other the sleep ends while the call is still under way.
  await collector.apply([
    yielding(before!, [sleep({ inMs: 0 })], yielded),
    yielding(after!, [sleep({ inMs: 0 })], { status: 'running', served: undefined }),
  ]);
  const outcome = await scheduler.fireTimers(10);
  expect(outcome.fired).toBe(2);
  expect(outcome.woken.map(({ runId }) => runId)).toEqual([after!.id]);
  await collector.apply([yielding(after!, [], { ...yielded, prev: 1, journalSeq: 2 })]);
  expect(await stateOf(before!)).toMatchObject({ status: 'waiting', wake: 1, served: 1 });
  expect(await stateOf(after!)).toMatchObject({ status: 'waiting', wake: 2, served: 2 });
  expect(await scheduler.overdueRuns({ olderThanMs: -1_000, isBulk: false, limit: 10 })).toEqual([]);

  await platform.admin.query(`update timers set due_at = now() where step_id = ''`);
  const retried = await scheduler.fireTimers(10);
  expect(retried.woken.map(({ runId }) => runId).sort()).toEqual([before!.id, after!.id].sort());
  for (const run of [before!, after!]) {
    const state = await stateOf(run);
    expect(state.wake).toBe(state.served + 1);
    expect(state).toMatchObject({ status: 'queued', steps: [{ id: 'nap', status: 'completed' }] });
  }
});

test('a run that moves while its timers are about to fire is passed over: it may have armed a retry', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  await collector.apply([yielding(run!, [sleep({ inMs: 0 })], { status: 'running', served: undefined })]);
  // Whoever reads timers as the service waits for this lock, with what it has begun to see.
  const holder = await platform.admin.connect();
  await holder.query('select pg_advisory_lock(42)');
  await holder.query(`create function pause() returns boolean language plpgsql
    as 'begin perform pg_advisory_xact_lock_shared(42); return true; end'`);
  await holder.query(
    'create policy pause on timers as restrictive for select to ironflow_service using (pause())',
  );
  try {
    const firing = scheduler.fireTimers(10);
    await eventually(async () => {
      const waiting = `select from pg_stat_activity where wait_event = 'advisory'`;
      expect((await platform.admin.query(waiting)).rowCount).toBe(1);
    });
    await holder.query('update runs set journal_seq = 2 where id = $1', [run!.id]);
    await holder.query(
      `insert into timers select run_id, '', 0, environment_id, now() + interval '1 minute' from timers`,
    );
    await holder.query('select pg_advisory_unlock(42)');
    expect((await firing).fired).toBe(0);
  } finally {
    await holder.query('select pg_advisory_unlock_all()');
    await holder.query('drop policy pause on timers; drop function pause');
    holder.release();
  }
  expect(await scheduler.fireTimers(10)).toMatchObject({ fired: 1, woken: [] });
});

test('ended sleeps of traced runs are told with their times', async () => {
  const traceparent = '00-11111111111111111111111111111111-2222222222222222-01';
  const [traced] = await startRuns(platform, platform.ours.scope, 1, { traceparent });
  const [other] = await startRuns(platform, platform.ours.scope, 1);
  const dueAtMs = Date.now() - 2_000;
  const nap = { ...sleep({ atMs: dueAtMs }), startedAtMs: dueAtMs - 500 };
  await collector.apply([yielding(traced!, [nap, failed(1, 0)]), yielding(other!, [nap])]);
  const { fired, ended } = await scheduler.fireTimers(10);
  expect(fired).toBe(3);
  expect(ended).toEqual([
    {
      ...{ type: 'sleep', status: 'completed' },
      ...{ runId: traced!.id, stepId: 'nap', name: 'nap', attempt: 1, traceparent },
      ...{ startedAtMs: dueAtMs - 500, endedAtMs: dueAtMs },
    },
  ]);
});

test('runs of long ago, in other partitions than those of today, are woken as well', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  await collector.apply([yielding(run!, [sleep({ inMs: 0 })])]);
  const old = `019${run!.id.slice(3)}`;
  for (const [table, column] of Object.entries({ runs: 'id', steps: 'run_id', timers: 'run_id' })) {
    await platform.admin.query(
      `insert into ${table} select (json_populate_record(t, json_build_object($3::text, $2::text))).*
      from ${table} t where t.${column} = $1`,
      [run!.id, old, column],
    );
  }
  const outcome = await scheduler.fireTimers(10);
  expect(outcome.woken.map(({ runId }) => runId).sort()).toEqual([old, run!.id].sort());
  const { rows } = await platform.admin.query('select status from steps');
  expect(rows).toEqual([{ status: 'completed' }, { status: 'completed' }]);
});

test('when a retry is due it stays on its attempt, for the timeline', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  await collector.apply([yielding(run!, [failed(1, 30_000)])]);
  const detail = await createApiStore(platform.tenant).getRun(run!.environmentId, run!.id);
  const dueInMs = Date.parse(detail!.steps[0]!.dueAt!) - (await platform.service.now());
  expect(dueInMs).toBeGreaterThan(25_000);
  expect(dueInMs).toBeLessThanOrEqual(30_000);
});

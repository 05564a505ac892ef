import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Mismatch, StepRecord } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, newEvent, newRun, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createApiStore,
  createCollectorStore,
  createExecutorStore,
  createIngestStore,
  createSchedulerStore,
  isRefusedData,
} from './index.js';
import type { CollectorStore, NewEvent, NewRun, RunProgress } from './index.js';

let platform: Platform;
let collector: CollectorStore;

beforeAll(async () => {
  platform = await createPlatform();
  collector = createCollectorStore(platform.service);
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const completed = (id: string, output?: string): StepRecord => ({
  id,
  name: id,
  type: 'run',
  attempt: 1,
  status: 'completed',
  startedAtMs: 1_000,
  endedAtMs: 2_000,
  ...(output === undefined ? {} : { output }),
});

function progress(run: NewRun, changes: Partial<RunProgress> = {}): RunProgress {
  const { id: runId, environmentId } = run;
  return { runId, environmentId, prev: 0, journalSeq: 10, steps: [], startedAtMs: 1_000, ...changes };
}

async function startRun(): Promise<NewRun> {
  return (await startRuns(platform, platform.ours.scope, 1))[0]!;
}

async function stateOf(run: NewRun) {
  return (await createExecutorStore(platform.service).loadRuns([run.id])).get(run.id)!;
}

test('what is accepted is answered with everything a notice needs', async () => {
  const run = await startRun();
  const [accepted] = await collector.apply([
    progress(run, {
      status: 'running',
      steps: [completed('a', '{"n":1.0}')],
      journalSeq: 1_795_255_752_224_001,
    }),
  ]);
  expect(accepted).toMatchObject({
    runId: run.id,
    scope: platform.ours.scope,
    eventId: run.eventId,
    functionId: 'ship',
    appId: 'shop',
    mode: 'pull',
    status: 'running',
    journalSeq: 1_795_255_752_224_001,
    wake: 1,
    served: 0,
    correlationId: run.eventId,
    startedAtMs: 1_000,
  });
  expect(accepted).not.toHaveProperty('endedAtMs');
  expect(await collector.positions([run.id, freshId()])).toEqual(new Map([[run.id, accepted]]));
});

test('what does not fit the code is kept with the run, beside others in one batch, and told to executor and api', async () => {
  const [run, other] = [await startRun(), await startRun()];
  const of = (id: string): Mismatch => ({
    count: 1,
    steps: [{ id, kind: 'out_of_turn', type: 'run', status: 'completed' }],
  });
  await collector.apply([progress(run, { mismatch: of('a'), status: 'waiting' }), progress(other)]);
  expect(await stateOf(run)).toMatchObject({ mismatch: of('a') });
  expect(await stateOf(other)).not.toHaveProperty('mismatch');
  await collector.apply([progress(run, { prev: 10, journalSeq: 11, mismatch: of('b') })]);
  await collector.apply([progress(run, { prev: 11, journalSeq: 12, status: 'completed', served: 1 })]);
  const { environmentId } = platform.ours.scope;
  const api = createApiStore(platform.tenant);
  expect(await api.getRun(environmentId, run.id)).toMatchObject({ mismatch: of('b') });
  expect(await api.getRun(environmentId, other.id)).not.toHaveProperty('mismatch');
});

test('a run is pinned once, is activated on the lane of its build when the activation is over, and can be unpinned then', async () => {
  const run = await startRun();
  const { environmentId } = platform.ours.scope;
  const api = createApiStore(platform.tenant);
  const pin = { buildId: 'old', servedBefore: 0 };
  const [first] = await collector.apply([progress(run, { pin, status: 'running', steps: [completed('a')] })]);
  expect(first).not.toHaveProperty('buildId');
  expect(await stateOf(run)).toMatchObject({ pin });
  expect(await api.getRun(environmentId, run.id)).toMatchObject({ buildId: 'old' });
  expect(await api.unpin(environmentId, run.id)).toEqual({ kind: 'active' });
  const other = { buildId: 'new', servedBefore: 0 };
  const [second] = await collector.apply([
    progress(run, { prev: 10, journalSeq: 11, pin: other, status: 'waiting', served: 1 }),
  ]);
  expect(second).toMatchObject({ buildId: 'old' });
  expect(await api.unpin(platform.theirs.scope.environmentId, run.id)).toEqual({ kind: 'not_found' });
  expect(await api.unpin(environmentId, run.id)).toMatchObject({ kind: 'unpinned', resumed: undefined });
  expect(await api.getRun(environmentId, run.id)).not.toHaveProperty('buildId');
  expect(await stateOf(run)).not.toHaveProperty('pin');
});

test('of collectors that apply the same entries one is accepted, its steps stored once', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 30);
  const batch = (name: string): RunProgress[] =>
    runs.map((run) => progress(run, { steps: [completed(name)] }));
  const outcomes = await Promise.all([
    collector.apply(batch('one')),
    collector.apply(batch('two').reverse()),
    collector.apply(batch('three').slice(5, 25)),
  ]);
  const accepted = outcomes.flat().map((run) => run.runId);
  expect(accepted.sort()).toEqual(runs.map((run) => run.id).sort());
  const { rows } = await platform.admin.query<{ count: number }>(
    'select count(*)::int from steps where run_id = any($1) group by run_id',
    [runs.map((run) => run.id)],
  );
  expect(rows).toEqual(runs.map(() => ({ count: 1 })));
});

test('entries that follow another position are not accepted, and nothing of them is stored', async () => {
  const run = await startRun();
  await collector.apply([progress(run)]);
  const branch = progress(run, {
    prev: 5,
    journalSeq: 20,
    status: 'completed',
    steps: [
      completed('a'),
      { id: 'b', name: 'b', attempt: 1, startedAtMs: 1, type: 'sleep', status: 'waiting', due: { inMs: 0 } },
    ],
    retryInMs: 5,
  });
  expect(await collector.apply([branch])).toEqual([]);
  expect(await stateOf(run)).toMatchObject({ journalSeq: 10, status: 'queued', steps: [] });
  const { rowCount } = await platform.admin.query('select 1 from timers where run_id = $1', [run.id]);
  expect(rowCount).toBe(0);
});

test('a terminal state is final', async () => {
  const run = await startRun();
  const [ended] = await collector.apply([progress(run, { status: 'completed', served: 1, output: '"a"' })]);
  expect(ended!.endedAtMs).toBeGreaterThan(0);
  expect(await collector.apply([progress(run, { prev: 10, journalSeq: 20, status: 'failed' })])).toEqual([]);
  expect(await stateOf(run)).toMatchObject({ status: 'completed', journalSeq: 10 });
});

test('a run that yields while another reason to run has come stays queued', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 2);
  await platform.admin.query('update runs set wake = 2 where id = $1', [runs[0]!.id]);
  const accepted = await collector.apply(runs.map((run) => progress(run, { status: 'waiting', served: 1 })));
  expect(new Map(accepted.map((run) => [run.runId, run.status]))).toEqual(
    new Map([
      [runs[0]!.id, 'queued'],
      [runs[1]!.id, 'waiting'],
    ]),
  );
});

test('consecutive failures are set and kept as told', async () => {
  const run = await startRun();
  const failuresAfter = async (changes: Partial<RunProgress>, prev: number): Promise<number> => {
    await collector.apply([progress(run, { prev, journalSeq: prev + 1, ...changes })]);
    return (await stateOf(run)).failures;
  };
  expect(await failuresAfter({ failures: 2 }, 0)).toBe(2);
  expect(await failuresAfter({}, 1)).toBe(2);
  expect(await failuresAfter({ failures: 0 }, 2)).toBe(0);
});

test('what an activation served never goes back', async () => {
  const run = await startRun();
  await collector.apply([progress(run, { served: 1 })]);
  const [accepted] = await collector.apply([progress(run, { prev: 10, journalSeq: 20, served: 0 })]);
  expect(accepted!.served).toBe(1);
});

test('the first accepted wait fixes when a step is due; a later attempt has a timer of its own', async () => {
  const run = await startRun();
  const retrying = (attempt: number, retryInMs: number): StepRecord => ({
    ...completed('charge'),
    attempt,
    status: 'retrying',
    type: 'run',
    endedAtMs: 2_000,
    retryInMs,
    error: { name: 'Error', message: 'no' },
  });
  const timers = async () => {
    const { rows } = await platform.admin.query<{ attempt: number; in_seconds: number }>(
      `select attempt, round(extract(epoch from due_at - now()) / 10)::int * 10 as in_seconds
        from timers where run_id = $1`,
      [run.id],
    );
    return rows;
  };
  const [first] = await collector.apply([progress(run, { steps: [retrying(1, 60_000)] })]);
  expect(first!.nextDueInMs).toBeGreaterThan(55_000);
  await collector.apply([progress(run, { prev: 10, journalSeq: 20, steps: [retrying(1, 600_000)] })]);
  expect(await timers()).toEqual([{ attempt: 1, in_seconds: 60 }]);
  await collector.apply([progress(run, { prev: 20, journalSeq: 30, steps: [retrying(2, 300_000)] })]);
  expect(await timers()).toEqual([{ attempt: 2, in_seconds: 300 }]);
});

test('a sleep that was recorded again after it fired is not armed again', async () => {
  const run = await startRun();
  const nap: StepRecord = {
    id: 'nap',
    name: 'nap',
    type: 'sleep',
    attempt: 1,
    startedAtMs: 1,
    status: 'waiting',
    due: { inMs: 0 },
  };
  await collector.apply([progress(run, { steps: [nap] })]);
  await createSchedulerStore(platform.service).fireTimers(100);
  const [again] = await collector.apply([progress(run, { prev: 10, journalSeq: 20, steps: [nap] })]);
  expect(again).not.toHaveProperty('nextDueInMs');
  expect((await stateOf(run)).steps).toEqual([{ id: 'nap', type: 'sleep', attempt: 1, status: 'completed' }]);
});

test('a retry of the run itself is a timer, and the last one given holds', async () => {
  const run = await startRun();
  await collector.apply([progress(run, { status: 'waiting', served: 1, retryInMs: 60_000 })]);
  const [again] = await collector.apply([
    progress(run, { prev: 10, journalSeq: 20, status: 'waiting', retryInMs: 0 }),
  ]);
  expect(again!.nextDueInMs).toBeLessThanOrEqual(0);
  expect(
    (await createSchedulerStore(platform.service).fireTimers(100)).woken.map(({ runId }) => runId),
  ).toEqual([run.id]);
});

test('a retry of the run itself waits for its time, whatever else there was to run for', async () => {
  const run = await startRun();
  await platform.admin.query('update runs set wake = 2 where id = $1', [run.id]);
  const [accepted] = await collector.apply([
    progress(run, { status: 'waiting', served: 1, retryInMs: 60_000 }),
  ]);
  expect(accepted).toMatchObject({ status: 'waiting', wake: 2, served: 2 });
});

test('outputs are kept to the letter, with NUL, lone surrogates and numbers as written', async () => {
  const run = await startRun();
  const output = '{"a":"\\u0000\\ud800","n":1.0,"big":12345678901234567890}';
  const error = { name: 'Error', message: 'NUL \u0000 and \ud800' };
  const failed: StepRecord = { ...completed('b'), type: 'run', status: 'failed', endedAtMs: 2_000, error };
  await collector.apply([
    progress(run, { steps: [completed('a', output), failed], status: 'failed', output, error }),
  ]);
  expect((await stateOf(run)).steps).toEqual([
    { id: 'a', type: 'run', attempt: 1, status: 'completed', output },
    { id: 'b', type: 'run', attempt: 1, status: 'failed', error },
  ]);
  const detail = await createApiStore(platform.tenant).getRun(run.environmentId, run.id);
  expect(detail).toMatchObject({ error, output: JSON.parse(output) as unknown });
});

test('a failure is told of by an event to be routed, which has what failed to the letter; other ends are not', async () => {
  const ingest = createIngestStore(platform.tenant);
  const { scope } = platform.ours;
  const start = async (event: NewEvent): Promise<NewRun> => {
    await ingest.storeEvents(scope.environmentId, [event]);
    const run = newRun(scope, event.id);
    const toRoute = {
      id: event.id,
      environmentId: scope.environmentId,
      awaitedAs: undefined,
      cancels: false,
      registryVersion: 0,
    };
    await createSchedulerStore(platform.service).routeEvents([toRoute], [run]);
    return run;
  };
  const small = newEvent({ data: '{"n":1.0,"s":"\\u0000\\ud800"}' });
  const large = newEvent({ data: JSON.stringify('x'.repeat(300_000)) });
  const ofFailure = newEvent({ name: 'ironflow.function.failed', source: 'system' });
  const runs = await Promise.all([small, large, ofFailure, newEvent()].map(start));
  const error = { name: 'RangeError', message: 'no \u0000' };
  const accepted = await collector.apply(
    runs.map((run, index) => progress(run, { status: index === 3 ? 'cancelled' : 'failed', error })),
  );
  const toldOf = new Map(accepted.map(({ runId, failureEventId }) => [runId, failureEventId]));
  expect(runs.map(({ id }) => toldOf.get(id) !== undefined)).toEqual([true, true, false, false]);
  const told = await createSchedulerStore(platform.service).unroutedAmong(
    [...toldOf.values()].filter((id) => id !== undefined),
  );
  const of = (run: NewRun) => told.find(({ id }) => id === toldOf.get(run.id))!;
  expect(of(runs[0]!)).toMatchObject({
    scope,
    name: 'ironflow.function.failed',
    source: 'system',
    correlationId: runs[0]!.correlationId,
    causationId: small.id,
  });
  expect(of(runs[0]!).data).toContain(small.data);
  expect(JSON.parse(of(runs[0]!).data)).toMatchObject({
    run: { id: runs[0]!.id, functionId: 'ship', appId: 'shop' },
    error,
    event: { id: small.id, name: small.name },
  });
  expect(JSON.parse(of(runs[1]!).data)).toMatchObject({ event: { id: large.id, data: null } });
  // A second time nothing is accepted, so nothing is told.
  expect(await collector.apply([progress(runs[0]!, { status: 'failed', error })])).toEqual([]);
});

test('a batch with data that is refused fails as a whole, and is known to be refused', async () => {
  const [good, bad] = await startRuns(platform, platform.ours.scope, 2);
  const batch = [
    progress(good!, { steps: [completed('a')] }),
    progress(bad!, { steps: [completed('a', '{')] }),
  ];
  const refusal: unknown = await collector.apply(batch).catch((error: unknown) => error);
  expect(isRefusedData(refusal)).toBe(true);
  expect(await collector.apply(batch.slice(0, 1))).toHaveLength(1);
});

test('what one statement cannot take is refused, and nothing of it is applied', async () => {
  const runs = await startRuns(platform, platform.ours.scope, collector.applyMax + 1);
  const batch = runs.map((run) => progress(run, { steps: [completed('a')] }));
  await expect(collector.apply(batch)).rejects.toThrow('500 runs at most');
  expect((await stateOf(runs[0]!)).journalSeq).toBe(0);
  expect(await collector.apply(batch.slice(1))).toHaveLength(collector.applyMax);
});

test('the highest position is that of the runs that go on, of all environments', async () => {
  await platform.admin.query('truncate runs');
  expect(await collector.highestJournalSequence()).toBe(0);
  const [over, live] = await startRuns(platform, platform.ours.scope, 2);
  const [waiting] = await startRuns(platform, platform.theirs.scope, 1);
  const first = 1_795_255_752_224_001;
  await collector.apply([
    progress(over!, { status: 'completed', journalSeq: first + 2 }),
    progress(live!, { status: 'running', journalSeq: first }),
    progress(waiting!, { status: 'waiting', served: 1, journalSeq: first + 1 }),
  ]);
  expect(await collector.highestJournalSequence()).toBe(first + 1);
});

test('one run twice in a batch is a mistake of the caller', async () => {
  const run = await startRun();
  await expect(collector.apply([progress(run), progress(run)])).rejects.toThrow('one progress for each run');
});

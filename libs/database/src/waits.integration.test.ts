/** Waits in PostgreSQL: how they come, who finds them, and that one resolves each. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { eventually, stopSharedServers } from '@ironflow/testing';
import type { Awaited, StepRecord } from '@ironflow/schema';
import { createPlatform, freshId, newEvent, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createApiStore,
  createCollectorStore,
  createExecutorStore,
  createIngestStore,
  createRegistryReader,
  createSchedulerStore,
} from './index.js';
import type { ApiStore, CollectorStore, NewEvent, NewRun, RunProgress, SchedulerStore } from './index.js';

let platform: Platform;
let scheduler: SchedulerStore;
let collector: CollectorStore;
let api: ApiStore;

beforeAll(async () => {
  platform = await createPlatform();
  scheduler = createSchedulerStore(platform.service);
  collector = createCollectorStore(platform.service);
  api = createApiStore(platform.tenant);
});

beforeEach(() =>
  platform.admin.query('truncate runs, steps, timers, waits, signals, events, awaited_events'),
);

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const types = { event: 'wait_for_event', signal: 'wait_for_signal', run: 'invoke' } as const;
function waitOn(id: string, awaited: Awaited, inMs = 3_600_000): StepRecord {
  const base = { id, name: id, attempt: 1, startedAtMs: 1, status: 'waiting' as const, awaited };
  return { ...base, type: types[awaited.kind], due: { inMs } };
}
const onPaid = (id: string, more: object = {}) => waitOn(id, { kind: 'event', event: 'paid', ...more });
const onSignal = (id: string, inMs?: number) => waitOn(id, { kind: 'signal', signal: 'go' }, inMs);

let sequence = 0;
async function accept(run: NewRun, steps: StepRecord[], changes: Partial<RunProgress> = {}) {
  const { journal_seq: prev } = (
    await platform.admin.query<{ journal_seq: number }>(
      'select journal_seq::float8 from runs where id = $1',
      [run.id],
    )
  ).rows[0]!;
  const [accepted] = await collector.apply([
    {
      runId: run.id,
      environmentId: run.environmentId,
      prev,
      journalSeq: (sequence += 1),
      steps,
      startedAtMs: 1,
      status: 'waiting',
      served: 1,
      ...changes,
    },
  ]);
  return accepted!;
}

async function emit(changes: Partial<NewEvent>, scope = platform.ours.scope) {
  const event = newEvent({ name: 'paid', ...changes });
  await createIngestStore(platform.tenant).storeEvents(scope.environmentId, [event]);
  return event;
}

async function route(event: NewEvent, scope = platform.ours.scope) {
  const { environmentId } = scope;
  const { version } = await createRegistryReader(platform.service).get(environmentId);
  return scheduler.routeEvents(
    [{ id: event.id, environmentId, awaitedAs: event.name, cancels: false, registryVersion: version }],
    [],
  );
}

const stepOf = async (run: NewRun, id: string) => {
  const detail = await api.getRun(run.environmentId, run.id);
  return detail!.steps.find((step) => step.id === id)!;
};
const countOf = async (table: string): Promise<number> =>
  (await platform.admin.query<{ n: number }>(`select count(*)::int as n from ${table}`)).rows[0]!.n;
const send = (run: NewRun, data: string, id = freshId()) =>
  api.sendSignal(run.environmentId, { runId: run.id, id, name: 'go', data });

test('one resolves a wait: its step and timer go with it, the run is woken once, and the other is told so', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  await accept(run!, [onPaid('answer')]);
  const event = await emit({});
  const resolution = { runId: run!.id, stepId: 'answer', output: '{"n": 1.0}', eventId: event.id };
  const answers = await Promise.all([
    scheduler.resolveWaits([resolution]),
    scheduler.resolveWaits([{ ...resolution, output: '2' }]),
  ]);
  expect(answers.map(({ resolved }) => resolved.length).sort()).toEqual([0, 1]);
  expect(answers.flatMap(({ woken }) => woken)).toEqual([
    {
      runId: run!.id,
      scope: platform.ours.scope,
      mode: 'pull',
      appId: 'shop',
      functionId: 'ship',
      eventId: run!.eventId,
    },
  ]);
  expect(await stepOf(run!, 'answer')).toMatchObject({ status: 'completed', eventId: event.id });
  expect([await countOf('waits'), await countOf('timers')]).toEqual([0, 0]);
  const state = (await createExecutorStore(platform.service).loadRuns([run!.id])).get(run!.id)!;
  expect(state).toMatchObject({ status: 'queued', wake: 2, served: 1 });
  expect(state.steps).toMatchObject([{ id: 'answer', type: 'wait_for_event', status: 'completed' }]);
});

test('an event resolves one wait of a run, and one of every other run', async () => {
  const [one, other] = await startRuns(platform, platform.ours.scope, 2);
  for (const run of [one!, other!]) await accept(run, [onPaid('first'), onPaid('second')]);
  const event = await emit({});
  const to = (run: NewRun, stepId: string) => ({ runId: run.id, stepId, output: '1', eventId: event.id });
  const { resolved } = await scheduler.resolveWaits([to(one!, 'first'), to(other!, 'first')]);
  expect(resolved).toHaveLength(2);
  expect((await scheduler.resolveWaits([to(one!, 'second')])).resolved).toEqual([]);
  expect(await stepOf(one!, 'second')).toMatchObject({ status: 'waiting' });
});

test('an event is noted as awaited only while somebody waits for its name, in its own environment', async () => {
  const { ours, theirs } = platform;
  const [run] = await startRuns(platform, ours.scope, 1);
  expect(await route(await emit({}))).toMatchObject({ awaited: [] });
  await accept(run!, [onPaid('answer')]);
  expect(await route(await emit({}, theirs.scope), theirs.scope)).toMatchObject({ awaited: [] });
  expect(await route(await emit({ name: 'refunded' }))).toMatchObject({ awaited: [] });
  const event = await emit({});
  expect(await route(event)).toMatchObject({ routed: [event.id], awaited: [event.id] });
  expect(await scheduler.eventsToMatch({ olderThanMs: 0, after: undefined, limit: 10 })).toMatchObject([
    { id: event.id, data: event.data },
  ]);
  expect(await scheduler.eventsToMatch({ olderThanMs: 60_000, after: undefined, limit: 10 })).toEqual([]);
  await scheduler.eventsMatched([event.id]);
  expect(await countOf('awaited_events')).toBe(0);
});

test('waits for an event are found by name and by the values that they match', async () => {
  const { environmentId } = platform.ours.scope;
  const runs = await startRuns(platform, platform.ours.scope, 2);
  const [one, other] = runs.sort((a, b) => (a.id < b.id ? -1 : 1));
  await accept(one!, [onPaid('any'), onPaid('seven', { match: { path: 'order.id', value: 7 } })]);
  await accept(other!, [
    onPaid('text', { match: { path: 'order.id', value: '7' } }),
    onPaid('eight', { match: { path: 'order.id', value: 8 } }),
    onPaid('yes', { match: { path: 'paid', value: true } }),
  ]);
  expect(await scheduler.matchPaths(environmentId, 'paid')).toEqual(['order.id', 'paid']);
  const values = [{ path: 'order.id', value: '7' }];
  const query = { environmentId, name: 'paid', values, afterRunId: undefined, limit: 10 };
  const found = await scheduler.waitsForEvent(query);
  expect(found.map(({ stepId, match }) => [stepId, match?.value])).toEqual([
    ['any', undefined],
    ['seven', 7],
    ['text', '7'],
  ]);
  const [first] = await scheduler.waitsForEvent({ ...query, limit: 1 });
  const rest = await scheduler.waitsForEvent({ ...query, afterRunId: first!.runId });
  expect(rest.map(({ stepId }) => stepId)).toEqual(['text']);
  const { environmentId: theirs } = platform.theirs.scope;
  expect(await scheduler.waitsForEvent({ ...query, environmentId: theirs })).toEqual([]);
});

test('a wait looks back to the moment the run’s event was received, in its environment, the oldest first', async () => {
  const tooEarly = await emit({});
  await platform.admin.query(`update events set received_at = received_at - interval '1 s' where id = $1`, [
    tooEarly.id,
  ]);
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  await emit({}, platform.theirs.scope);
  await emit({ name: 'refunded' });
  const early = await emit({ data: '{"a":1.0}' });
  await accept(run!, [onPaid('answer')]);
  const late = await emit({});
  const [wait] = await scheduler.waitsOf([run!.id]);
  expect(wait).toMatchObject({
    stepId: 'answer',
    lookedBack: false,
    trigger: { id: run!.eventId, data: '' },
  });
  const events = await scheduler.eventsFor({ wait: wait!, after: undefined, limit: 10 });
  expect(events.map(({ id, data }) => [id, data])).toEqual([
    [early.id, '{"a":1.0}'],
    [late.id, late.data],
  ]);
  const rest = await scheduler.eventsFor({ wait: wait!, after: early.id, limit: 10 });
  expect(rest.map(({ id }) => id)).toEqual([late.id]);
  expect(await scheduler.runsToLookAt(0, 10)).toEqual([run!.id]);
  await scheduler.lookedBack([wait!]);
  expect(await scheduler.runsToLookAt(0, 10)).toEqual([]);
});

test('the event that started a run is at hand with its data, for a condition to ask for', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const triggers = await scheduler.triggersOf([run!.id]);
  expect(triggers.get(run!.id)).toMatchObject({ id: run!.eventId, data: '{"total":1}' });
});

test('a wait in vain ends with its time: null for an event or a signal, an error for an invoked run', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const child = { kind: 'run' as const, eventId: freshId(), functionId: 'child' };
  await accept(run!, [onPaid('answer'), onSignal('go'), waitOn('child', child)]);
  await scheduler.lookedBack(await scheduler.waitsOf([run!.id]));
  await platform.admin.query('update timers set due_at = now()');
  expect(await scheduler.fireTimers(10)).toMatchObject({ fired: 3, held: [], woken: [{ runId: run!.id }] });
  expect(await stepOf(run!, 'answer')).toMatchObject({ status: 'completed', output: null });
  expect(await stepOf(run!, 'go')).toMatchObject({ status: 'completed', output: null });
  expect(await stepOf(run!, 'child')).toMatchObject({ status: 'failed', error: { name: 'InvokeTimeout' } });
  expect(await countOf('waits')).toBe(0);
  const late = { runId: run!.id, stepId: 'answer', output: '1' };
  expect(await scheduler.resolveWaits([late])).toEqual({ resolved: [], woken: [], ended: [] });
});

test('what is there already is taken first, though the time of the wait is up', async () => {
  const [run, child] = await startRuns(platform, platform.ours.scope, 2);
  const awaited = { kind: 'run' as const, eventId: child!.eventId, functionId: child!.functionId };
  await accept(run!, [onPaid('answer'), onSignal('go'), waitOn('child', awaited)]);
  const due = () => platform.admin.query('update timers set due_at = now()');
  const nobodyLooked = { fired: 0, held: [run!.id], woken: [] };
  await due();
  expect(await scheduler.fireTimers(10)).toMatchObject(nobodyLooked);
  await scheduler.lookedBack(await scheduler.waitsOf([run!.id]));
  const signalId = freshId();
  await send(run!, '1', signalId);
  await accept(child!, [], { status: 'completed', output: '2' });
  await due();
  expect(await scheduler.fireTimers(10)).toMatchObject({ fired: 1, held: [run!.id] });
  expect(await stepOf(run!, 'answer')).toMatchObject({ status: 'completed', output: null });
  const taken = { runId: run!.id, stepId: 'go', signalId };
  const result = { runId: run!.id, stepId: 'child', output: '2' };
  expect((await scheduler.resolveWaits([taken, result])).resolved).toHaveLength(2);
  expect(await stepOf(run!, 'go')).toMatchObject({ output: 1 });
  expect([await countOf('waits'), await countOf('timers')]).toEqual([0, 0]);
});

test('a signal is kept until it is taken, taken once, and sent once by its id', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const id = freshId();
  expect(await send(run!, '{"n":1.0}', id)).toBe('sent');
  expect(await send(run!, '{"n":1.0}', id)).toBe('sent');
  await accept(run!, [onSignal('go'), onSignal('go:1')]);
  expect(await scheduler.keptSignals([run!.id])).toEqual([{ runId: run!.id, id, name: 'go' }]);
  expect(await scheduler.runsToLookAt(60_000, 10)).toEqual([run!.id]);
  const to = (stepId: string) => ({ runId: run!.id, stepId, signalId: id });
  expect((await scheduler.resolveWaits([to('go')])).resolved).toHaveLength(1);
  expect(await stepOf(run!, 'go')).toMatchObject({ status: 'completed', output: { n: 1 } });
  expect((await scheduler.resolveWaits([to('go:1')])).resolved).toEqual([]);
  expect(await send(run!, '2', id)).toBe('sent');
  expect(await scheduler.keptSignals([run!.id])).toEqual([]);
});

test('signals go to runs of the own environment that have not ended, and no more than a run can keep', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const signal = { runId: run!.id, id: freshId(), name: 'go', data: undefined };
  expect(await api.sendSignal(platform.theirs.scope.environmentId, signal)).toBe('not_found');
  expect(await api.sendSignal(run!.environmentId, { ...signal, runId: freshId() })).toBe('not_found');
  await platform.admin.query(
    `insert into signals (run_id, id, environment_id, name)
      select $1, gen_random_uuid(), $2, 'x' from generate_series(1, 1000)`,
    [run!.id, run!.environmentId],
  );
  expect(await api.sendSignal(run!.environmentId, signal)).toBe('too_many');
  await accept(run!, [], { status: 'completed' });
  expect(await countOf('signals')).toBe(0);
  expect(await api.sendSignal(run!.environmentId, signal)).toBe('ended');
});

test('a run that ends names those that wait for it, its result is at hand, and its own waits go', async () => {
  const [parent, child] = await startRuns(platform, platform.ours.scope, 2);
  const awaited = { kind: 'run' as const, eventId: child!.eventId, functionId: child!.functionId };
  await accept(parent!, [waitOn('child', awaited)]);
  await accept(child!, [onPaid('answer')]);
  expect(await scheduler.waitsOf([parent!.id])).toMatchObject([{ kind: 'run', awaitedRun: undefined }]);
  expect(await accept(child!, [], { status: 'completed', output: '{"x":1.0}' })).toMatchObject({
    awaitedBy: [parent!.id],
  });
  expect(await scheduler.waitsOf([parent!.id])).toMatchObject([
    { kind: 'run', awaitedRun: { status: 'completed' } },
  ]);
  expect(await scheduler.waitsOf([child!.id])).toEqual([]);
  expect(await scheduler.runsToLookAt(60_000, 10)).toEqual([parent!.id]);
  expect(await api.getRun(child!.environmentId, child!.id)).toMatchObject({ invokedBy: parent!.id });
  expect(await stepOf(parent!, 'child')).toMatchObject({ invokedRunId: child!.id });
  await scheduler.resolveWaits([{ runId: parent!.id, stepId: 'child' }]);
  expect(await stepOf(parent!, 'child')).toMatchObject({ status: 'completed', output: { x: 1 } });
});

test('a run that is just ending is waited for, so that a look begun meanwhile sees its end', async () => {
  const [parent, child] = await startRuns(platform, platform.ours.scope, 2);
  await accept(parent!, [
    waitOn('child', { kind: 'run', eventId: child!.eventId, functionId: child!.functionId }),
  ]);
  const ending = await platform.admin.connect();
  await ending.query('begin');
  await ending.query(`update runs set status = 'completed' where id = $1`, [child!.id]);
  const looking = scheduler.waitsOf([parent!.id]);
  await eventually(async () => {
    const { rows } = await platform.admin.query('select from pg_locks where not granted');
    expect(rows.length).toBeGreaterThan(0);
  });
  await ending.query('commit');
  ending.release();
  expect(await looking).toMatchObject([{ awaitedRun: { status: 'completed' } }]);
});

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { RunsQuery } from '@ironflow/schema';
import { idTimeMs } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, manifest, newEvent, newRun, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createApiStore,
  createCollectorStore,
  createIngestStore,
  createSchedulerStore,
  registerApp,
} from './index.js';
import type { ApiStore, NewRun } from './index.js';

let platform: Platform;
let api: ApiStore;
let ours: string;
let theirs: string;
const hourMs = 3_600_000;
const begunMs = Date.now();
/** Newest first: the order of every list. */
let runs: NewRun[];

beforeAll(async () => {
  platform = await createPlatform();
  api = createApiStore(platform.tenant);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
  runs = await runsOverHours(24);
  await startRuns(platform, platform.theirs.scope, 5);
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

/** One an hour, into the past: so they lie in this month and in the default partition. */
async function runsOverHours(count: number): Promise<NewRun[]> {
  const events = Array.from({ length: count }, (_, index) =>
    newEvent({
      id: freshId(begunMs - index * 24 * hourMs),
      name: index % 3 === 0 ? 'order.paid' : 'order.created',
      correlationId: `c${index % 4}`,
    }),
  );
  await createIngestStore(platform.tenant).storeEvents(ours, events);
  const made = events.map((event, index) =>
    newRun(platform.ours.scope, event.id, {
      functionId: `f${index % 2}`,
      correlationId: event.correlationId!,
    }),
  );
  await createSchedulerStore(platform.service).routeEvents(
    events.map(({ id, name }) => ({
      id,
      awaitedAs: name,
      cancels: false,
      environmentId: ours,
      registryVersion: 0,
    })),
    made,
  );
  await createCollectorStore(platform.service).apply(
    made
      .filter((_run, index) => index % 5 === 0)
      .map((run) => ({
        runId: run.id,
        environmentId: ours,
        prev: 0,
        journalSeq: 1,
        steps: [],
        startedAtMs: begunMs,
        status: 'failed',
        error: { name: 'Error', message: 'no' },
      })),
  );
  return made;
}

async function listAll(query: Omit<RunsQuery, 'limit'>, limit: number): Promise<string[]> {
  const ids: string[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await api.listRuns(ours, { ...query, limit, ...(cursor === undefined ? {} : { cursor }) });
    ids.push(...page.runs.map(({ id }) => id));
    if (page.nextCursor === undefined) return ids;
    cursor = page.nextCursor;
  }
}

const where = (matches: (run: NewRun, index: number) => boolean): string[] =>
  runs.filter(matches).map(({ id }) => id);

test.each([1, 5, 24, 50])('pages of %i hold every run once, the newest first', async (limit) => {
  expect(await listAll({}, limit)).toEqual(where(() => true));
});

test('pages stay what they are while new runs come', async () => {
  const first = await api.listRuns(ours, { limit: 10 });
  const added = await startRuns(platform, platform.ours.scope, 3);
  const second = await api.listRuns(ours, { limit: 10, cursor: first.nextCursor! });
  expect([...first.runs, ...second.runs].map(({ id }) => id)).toEqual(where((_run, index) => index < 20));
  await platform.admin.query('delete from runs where id = any($1)', [added.map(({ id }) => id)]);
});

test('every filter, alone and together, answers exactly what fits', async () => {
  expect(await listAll({ status: 'failed' }, 3)).toEqual(where((_run, index) => index % 5 === 0));
  expect(await listAll({ status: 'cancelled' }, 3)).toEqual([]);
  expect(await listAll({ function: 'f1' }, 3)).toEqual(where((_run, index) => index % 2 === 1));
  expect(await listAll({ correlation: 'c2' }, 3)).toEqual(where((_run, index) => index % 4 === 2));
  expect(await listAll({ event: runs[3]!.eventId }, 3)).toEqual([runs[3]!.id]);
  expect(await listAll({ event: freshId() }, 3)).toEqual([]);
  const all = { status: 'failed', function: 'f1', correlation: 'c1', event: runs[5]!.eventId } as const;
  expect(await listAll(all, 3)).toEqual([runs[5]!.id]);
  const times = runs.map((run) => idTimeMs(run.id));
  const [from, to] = [times[9]!, times[3]!].map((timeMs) => new Date(timeMs).toISOString());
  expect(await listAll({ from: from!, to: to! }, 2)).toEqual(where((_run, index) => index > 3 && index <= 9));
  expect(await listAll({ from: from!, to: to!, event: runs[3]!.eventId }, 2)).toEqual([]);
  expect(await listAll({ from: from!, to: to!, event: runs[9]!.eventId }, 2)).toEqual([runs[9]!.id]);
});

test('a run is answered as the API shows it, with the name of its event', async () => {
  const [page, detail] = await Promise.all([api.listRuns(ours, { limit: 1 }), api.getRun(ours, runs[0]!.id)]);
  expect(page.runs[0]).toMatchObject({
    id: runs[0]!.id,
    appId: 'shop',
    functionId: 'f0',
    mode: 'pull',
    status: 'failed',
    eventId: runs[0]!.eventId,
    eventName: 'order.paid',
    correlationId: 'c0',
    error: { name: 'Error', message: 'no' },
    startedAt: new Date(begunMs).toISOString(),
  });
  expect(page.runs[0]).not.toHaveProperty('output');
  expect(detail).toEqual({ ...page.runs[0], steps: [] });
});

test('a step’s output of null is an output, and no output is none', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const step = {
    name: 's',
    type: 'run',
    attempt: 1,
    status: 'completed',
    startedAtMs: 1_000,
    endedAtMs: 2_000,
  } as const;
  await createCollectorStore(platform.service).apply([
    {
      runId: run!.id,
      environmentId: ours,
      prev: 0,
      journalSeq: 1,
      startedAtMs: 1,
      steps: [
        { ...step, id: 'with', output: 'null' },
        { ...step, id: 'without' },
      ],
    },
  ]);
  const shown = { name: 's', type: 'run', attempt: 1, status: 'completed' } as const;
  const times = { startedAt: '1970-01-01T00:00:01.000Z', endedAt: '1970-01-01T00:00:02.000Z' };
  expect((await api.getRun(ours, run!.id))!.steps).toEqual([
    { id: 'with', ...shown, ...times, output: null },
    { id: 'without', ...shown, ...times },
  ]);
  await platform.admin.query('delete from runs where id = $1', [run!.id]);
});

test('events are listed by name and correlation, and shown with their runs', async () => {
  const paid = await api.listEvents(ours, { limit: 50, name: 'order.paid' });
  expect(paid.events.map(({ id }) => id)).toEqual(
    runs.filter((_run, index) => index % 3 === 0).map((run) => run.eventId),
  );
  const both = await api.listEvents(ours, { limit: 50, name: 'order.paid', correlation: 'c3' });
  expect(both.events.map(({ id }) => id)).toEqual([runs[3], runs[15]].map((run) => run!.eventId));
  const event = await api.getEvent(ours, runs[1]!.eventId);
  expect(event).toMatchObject({
    name: 'order.created',
    data: { total: 1 },
    source: 'http',
    correlationId: 'c1',
  });
  expect(event!.runs).toEqual([{ id: runs[1]!.id, functionId: 'f1', status: 'queued' }]);
});

test('apps are listed with how many functions they have', async () => {
  await registerApp(
    platform.tenant,
    ours,
    manifest({ mode: 'push', url: 'https://a.example', sdk: 'typescript/1', signedAnswers: true }),
  );
  expect(await api.listApps(ours)).toMatchObject([
    {
      id: 'shop',
      mode: 'push',
      url: 'https://a.example',
      sdk: 'typescript/1',
      signedAnswers: true,
      functions: 1,
    },
  ]);
  expect(await api.listFunctions(ours)).toMatchObject([
    { id: 'ship', appId: 'shop', mode: 'push', status: 'active' },
  ]);
  expect([await api.listApps(theirs), await api.listFunctions(theirs)]).toEqual([[], []]);
  const [first] = await api.listFunctions(ours);
  expect(await api.getFunction(ours, first!.id)).toEqual(first);
  expect(await api.getFunction(theirs, first!.id)).toBeUndefined();
});

test('a neighbour’s ids answer nothing, in every list and by every id', async () => {
  const [run] = runs;
  expect(await api.getRun(theirs, run!.id)).toBeUndefined();
  expect(await api.getEvent(theirs, run!.eventId)).toBeUndefined();
  for (const query of [
    { event: run!.eventId },
    { correlation: 'c0' },
    { function: 'f0' },
    { status: 'failed' as const },
  ]) {
    expect(await api.listRuns(theirs, { limit: 50, ...query })).toEqual({ runs: [] });
  }
  expect((await api.listRuns(theirs, { limit: 50, cursor: run!.id })).runs.map(({ id }) => id)).not.toContain(
    run!.id,
  );
  expect((await api.listRuns(theirs, { limit: 50 })).runs).toHaveLength(5);
  expect((await api.listEvents(theirs, { limit: 50 })).events).toHaveLength(5);
});

test('a page of large payloads ends early, and the pages together hold them all', async () => {
  const data = JSON.stringify('x'.repeat(500 * 1024));
  const events = Array.from({ length: 20 }, () => newEvent({ name: 'large', data }));
  await createIngestStore(platform.tenant).storeEvents(ours, events);
  const sizes: number[] = [];
  const seen: string[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await api.listEvents(ours, {
      name: 'large',
      limit: 200,
      ...(cursor === undefined ? {} : { cursor }),
    });
    sizes.push(page.events.length);
    seen.push(...page.events.map((event) => event.id));
    for (const event of page.events) expect(event.data).toHaveLength(500 * 1024);
    if (page.nextCursor === undefined) break;
    cursor = page.nextCursor;
  }
  expect(sizes).toEqual([9, 9, 2]);
  expect(seen).toEqual(
    events
      .map(({ id }) => id)
      .sort()
      .reverse(),
  );
});

test('runs of an event at the end of time are none, not an error', async () => {
  const query = { limit: 10, event: 'ffffffff-ffff-7000-8000-000000000000' };
  expect(await api.listRuns(ours, query)).toEqual({ runs: [] });
});

test('who watches a run is shown it without the outputs of its steps', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  const step = {
    name: 's',
    type: 'run',
    attempt: 1,
    status: 'completed',
    startedAtMs: 1,
    endedAtMs: 2,
  } as const;
  await createCollectorStore(platform.service).apply([
    {
      ...{ runId: run!.id, environmentId: ours, prev: 0, journalSeq: 1, startedAtMs: 1 },
      steps: [{ ...step, id: 'large', output: '"large"' }],
      ...{ status: 'completed', served: 1, output: '"the run’s own"' },
    },
  ]);
  const update = await api.getRunUpdate(ours, run!.id);
  const detail = await api.getRun(ours, run!.id);
  const { output: _output, ...shown } = detail!.steps[0]!;
  const { id, functionId, status, output } = detail!;
  expect(update).toEqual({ id, functionId, status, output, steps: [shown] });
  expect(await api.getRunUpdate(theirs, run!.id)).toBeUndefined();
});

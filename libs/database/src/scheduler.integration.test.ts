import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { eventually, stopSharedServers } from '@ironflow/testing';
import {
  createPlatform,
  freshId,
  functionConfig,
  manifest,
  newEvent,
  newRun,
  startRuns,
} from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createCollectorStore, createIngestStore, createSchedulerStore, registerApp } from './index.js';
import type { NewEvent, SchedulerStore } from './index.js';

let platform: Platform;
let scheduler: SchedulerStore;
let ours: string;

beforeAll(async () => {
  platform = await createPlatform();
  scheduler = createSchedulerStore(platform.service);
  ours = platform.ours.scope.environmentId;
});

beforeEach(() => platform.admin.query('truncate runs, steps, timers, unrouted_events'));

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

async function store(events: NewEvent[]): Promise<NewEvent[]> {
  await createIngestStore(platform.tenant).storeEvents(ours, events);
  return events;
}

const toRoute = (event: NewEvent, registryVersion: number) => ({
  id: event.id,
  awaitedAs: event.name,
  cancels: false,
  environmentId: ours,
  registryVersion,
});

async function version(): Promise<number> {
  const { rows } = await platform.admin.query<{ version: number }>(
    'select registry_version as version from environments where id = $1',
    [ours],
  );
  return rows[0]!.version;
}

test('of schedulers that route the same events one inserts the runs; to others they are settled', async () => {
  const events = await store(Array.from({ length: 40 }, () => newEvent()));
  const registryVersion = await version();
  const route = (batch: NewEvent[]) =>
    scheduler.routeEvents(
      batch.map((event) => toRoute(event, registryVersion)),
      batch.map((event) => newRun(platform.ours.scope, event.id)),
    );
  const outcomes = await Promise.all([events, [...events].reverse(), events.slice(10), events].map(route));
  const routed = outcomes.flatMap((outcome) => outcome.routed);
  expect(routed.sort()).toEqual(events.map(({ id }) => id).sort());
  expect(outcomes.flatMap((outcome) => outcome.settled)).toHaveLength(40 + 40 + 30 + 40 - 40);
  const runs = await scheduler.runsOfEvents(events.map(({ id }) => id));
  expect(runs).toHaveLength(40);
  expect(runs[0]).toMatchObject({
    scope: platform.ours.scope,
    mode: 'pull',
    appId: 'shop',
    functionId: 'ship',
  });
});

test('schedulers that meet at the same events wait for each other and agree on who routed them', async () => {
  const events = await store([newEvent(), newEvent()]);
  const registryVersion = await version();
  const holder = await platform.admin.connect();
  await holder.query('begin');
  await holder.query('select 1 from unrouted_events for update');
  const routing = [1, 2].map(() =>
    scheduler.routeEvents(
      events.map((event) => toRoute(event, registryVersion)),
      events.map((event) => newRun(platform.ours.scope, event.id)),
    ),
  );
  await eventually(
    async () => {
      const { rowCount } = await platform.admin.query(
        `select 1 from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'service test'`,
      );
      expect(rowCount).toBe(2);
    },
    { timeoutMs: 5_000, description: 'both schedulers to wait' },
  );
  await holder.query('commit');
  holder.release();
  const outcomes = await Promise.all(routing);
  expect(outcomes.map(({ routed }) => routed.length).sort()).toEqual([0, 2]);
  expect(outcomes.map(({ settled }) => settled.length).sort()).toEqual([0, 2]);
});

test('an event matched with an older registry is stale: no run, and it stays to be routed', async () => {
  const [event, current] = await store([newEvent(), newEvent()]);
  const before = await version();
  await registerApp(platform.tenant, ours, manifest({ functions: [functionConfig(`f${before}`)] }));
  const outcome = await scheduler.routeEvents(
    [toRoute(event!, before), toRoute(current!, before + 1)],
    [newRun(platform.ours.scope, event!.id), newRun(platform.ours.scope, current!.id)],
  );
  expect(outcome).toEqual({ routed: [current!.id], awaited: [], stale: [event!.id], settled: [] });
  const runs = await scheduler.runsOfEvents([event!.id, current!.id]);
  expect(runs.map((run) => run.eventId)).toEqual([current!.id]);
  const unrouted = await scheduler.unroutedEvents({ olderThanMs: 0, limit: 10 });
  expect(unrouted.map(({ id }) => id)).toEqual([event!.id]);
});

test('an event that matches nothing is routed all the same; an unknown one is settled', async () => {
  const [event] = await store([newEvent()]);
  const unknown = newEvent();
  const registryVersion = await version();
  const outcome = await scheduler.routeEvents(
    [toRoute(event!, registryVersion), toRoute(unknown, registryVersion)],
    [],
  );
  expect(outcome).toEqual({ routed: [event!.id], awaited: [], stale: [], settled: [unknown.id] });
  expect(await scheduler.unroutedEvents({ olderThanMs: 0, limit: 10 })).toEqual([]);
});

test('the sweep finds unrouted events that are old enough, the oldest first', async () => {
  const events = await store([newEvent(), newEvent(), newEvent()]);
  await platform.admin.query(
    `update unrouted_events set received_at = now() - interval '1 minute' where event_id = $1`,
    [events[2]!.id],
  );
  const old = await scheduler.unroutedEvents({ olderThanMs: 30_000, limit: 10 });
  expect(old.map(({ id }) => id)).toEqual([events[2]!.id]);
  const all = await scheduler.unroutedEvents({ olderThanMs: 0, limit: 2 });
  expect(all.map(({ id }) => id)).toEqual([
    events[2]!.id,
    events
      .slice(0, 2)
      .map(({ id }) => id)
      .sort()[0],
  ]);
});

test('how long the oldest unrouted event has waited is told, and nothing when there is none', async () => {
  expect(await scheduler.unroutedAgeMs()).toBe(0);
  const events = await store([newEvent(), newEvent()]);
  await platform.admin.query(
    `update unrouted_events set received_at = now() - interval '1 minute' where event_id = $1`,
    [events[1]!.id],
  );
  const ageMs = await scheduler.unroutedAgeMs();
  expect(ageMs).toBeGreaterThanOrEqual(60_000);
  expect(ageMs).toBeLessThan(90_000);
});

test('unrouted events are read page by page, also past those that nothing can be done about', async () => {
  const events = await store(Array.from({ length: 7 }, () => newEvent()));
  const found: string[] = [];
  for (let after: { receivedAtMs: number; id: string } | undefined; ;) {
    const page = await scheduler.unroutedEvents({ olderThanMs: -1_000, after, limit: 3 });
    found.push(...page.map(({ id }) => id));
    if (page.length < 3) break;
    after = page.at(-1);
  }
  expect(found).toEqual(events.map(({ id }) => id).sort());
});

test('a skipped run is final from the start and needs no activation', async () => {
  const [run] = await startRuns(platform, platform.ours.scope, 1, {
    status: 'skipped',
    skipReason: 'rate limit',
  });
  expect(await scheduler.runsOfEvents([run!.eventId])).toEqual([]);
  const { rows } = await platform.admin.query(
    'select skip_reason, ended_at is not null as ended, wake from runs',
  );
  expect(rows).toEqual([{ skip_reason: 'rate limit', ended: true, wake: 0 }]);
});

test('the slow sweep pages through every run that needs an activation, and through no other', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 25);
  const theirs = await startRuns(platform, platform.theirs.scope, 3);
  await platform.admin.query(
    `update runs set woken_at = date_trunc('milliseconds', now()) - interval '1 minute'`,
  );
  await startRuns(platform, platform.ours.scope, 2);
  const progress = { environmentId: ours, prev: 0, journalSeq: 1, steps: [], startedAtMs: 1 };
  await createCollectorStore(platform.service).apply([
    { ...progress, runId: runs[0]!.id, status: 'completed', served: 1 },
    { ...progress, runId: runs[1]!.id, status: 'waiting', served: 1 },
    { ...progress, runId: runs[2]!.id, status: 'running' },
  ]);
  await scheduler.restForWorker([runs[3]!.id]);
  const found: string[] = [];
  for (let after: { wokenAtMs: number; runId: string } | undefined; ;) {
    const page = await scheduler.overdueRuns({ olderThanMs: 30_000, isBulk: false, after, limit: 7 });
    found.push(...page.map((run) => run.runId));
    if (page.length < 7) break;
    after = page.at(-1);
  }
  const expected = [...runs.slice(2, 3), ...runs.slice(4), ...theirs].map((run) => run.id);
  expect(found).toEqual(expected.sort());
});

test('runs rest without a worker and are released once, resumed ones first, then the oldest', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 20);
  const ids = runs.map((run) => run.id).sort();
  const resumed = ids.slice(15);
  await createCollectorStore(platform.service).apply(
    resumed.map((runId) => ({
      runId,
      environmentId: ours,
      prev: 0,
      journalSeq: 1,
      steps: [],
      startedAtMs: 1,
      status: 'queued',
    })),
  );
  expect((await scheduler.restForWorker(ids)).sort()).toEqual(ids);
  expect(await scheduler.restForWorker(ids)).toEqual([]);
  const neighbour = platform.theirs.scope.environmentId;
  const [other] = await startRuns(platform, platform.ours.scope, 1, { appId: 'a' });
  const [foreign] = await startRuns(platform, platform.theirs.scope, 1);
  const others = [other!.id, foreign!.id];
  await scheduler.restForWorker(others);
  const resting = await scheduler.waitingForWorker();
  expect(resting).toHaveLength(3);
  expect(resting).toEqual(
    expect.arrayContaining([
      { environmentId: ours, appId: 'a' },
      { environmentId: ours, appId: 'shop' },
      { environmentId: neighbour, appId: 'shop' },
    ]),
  );
  await platform.admin.query('delete from runs where id = any($1)', [others]);
  expect(await scheduler.runsOfEvents(runs.map((run) => run.eventId))).toEqual([]);

  expect(
    await scheduler.releaseForWorker(
      { environmentId: platform.theirs.scope.environmentId, appId: 'shop' },
      10,
    ),
  ).toEqual([]);
  const first = await scheduler.releaseForWorker({ environmentId: ours, appId: 'shop' }, 8);
  expect(first.map((run) => run.runId)).toEqual([...resumed, ...ids.slice(0, 3)]);
  const rest = await Promise.all(
    Array.from({ length: 4 }, () => scheduler.releaseForWorker({ environmentId: ours, appId: 'shop' }, 5)),
  );
  const released = rest.flat().map((run) => run.runId);
  expect(new Set(released).size).toBe(released.length);
  const last = await scheduler.releaseForWorker({ environmentId: ours, appId: 'shop' }, 20);
  expect([...released, ...last.map((run) => run.runId)].sort()).toEqual(ids.slice(3, 15));
  expect(await scheduler.waitingForWorker()).toEqual([]);
});

test('runs that are pinned rest on the lane of their build, once the activation that pinned them is over', async () => {
  const { environmentId } = platform.ours.scope;
  const [pinned, pinning, free] = (await startRuns(platform, platform.ours.scope, 3)).map(({ id }) => id);
  await platform.admin.query(
    "update runs set build_id = 'old', pinned_after = 0, served = 1, wake = 2 where id = $1",
    [pinned],
  );
  await platform.admin.query("update runs set build_id = 'old', pinned_after = 0 where id = $1", [pinning]);
  const ids = [pinned!, pinning!, free!];
  expect((await scheduler.restForWorker(ids)).sort()).toEqual([...ids].sort());
  const shop = { environmentId, appId: 'shop' };
  expect(await scheduler.waitingForWorker()).toEqual([shop, { ...shop, buildId: 'old' }]);
  expect(await scheduler.releaseForWorker({ ...shop, buildId: 'new' }, 10)).toEqual([]);
  const ofBuild = await scheduler.releaseForWorker({ ...shop, buildId: 'old' }, 10);
  expect(ofBuild).toMatchObject([{ runId: pinned, buildId: 'old' }]);
  const ofApp = await scheduler.releaseForWorker(shop, 10);
  expect(ofApp.map(({ runId }) => runId).sort()).toEqual([pinning!, free!].sort());
  expect(ofApp.every((run) => !('buildId' in run))).toBe(true);
  expect(await scheduler.requestStopOf([pinned!])).toMatchObject([{ runId: pinned, buildId: 'old' }]);
  await platform.admin.query('delete from runs where id = any($1)', [ids]);
});

test('an advisory lock is held by one at a time and is free afterwards, also after a failure', async () => {
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  let begun: () => void = () => undefined;
  const hasBegun = new Promise<void>((resolve) => (begun = resolve));
  const held = scheduler.withAdvisoryLock('admission', async () => {
    begun();
    await finished;
    return 'held';
  });
  await hasBegun;
  expect(await scheduler.withAdvisoryLock('admission', async () => 'second')).toBeUndefined();
  expect(await scheduler.withAdvisoryLock('other', async () => 'other')).toBe('other');
  finish();
  expect(await held).toBe('held');
  await expect(
    scheduler.withAdvisoryLock('admission', () => Promise.reject(new Error('failed'))),
  ).rejects.toThrow('failed');
  expect(await scheduler.withAdvisoryLock('admission', async () => 'again')).toBe('again');
});

test('what cannot be read is kept as a dead letter, with or without its environment, and once', async () => {
  const letter = {
    id: freshId(),
    environmentId: ours,
    subject: 'ironflow.shop.prod.events.a',
    reason: 'unreadable',
    detail: 'd',
    payload: '',
    occurredAtMs: 1,
  } as const;
  const { environmentId: _none, ...nobodys } = { ...letter, id: freshId() };
  await scheduler.storeDeadLetters([letter, nobodys]);
  await scheduler.storeDeadLetters([letter]);
  await scheduler.storeDeadLetters([]);
  const { rows } = await platform.admin.query<{ environment_id: string | null }>(
    'select environment_id from dead_letters where id = any($1) order by environment_id nulls last',
    [[letter.id, nobodys.id]],
  );
  expect(rows.map((row) => row.environment_id)).toEqual([ours, null]);
});

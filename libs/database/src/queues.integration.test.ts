import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { concurrencySlotPrefix, limits, singletonSlotPrefix } from '@ironflow/schema';
import type { FlowKeys } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, functionConfig, manifest, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createApiStore, createIngestStore, registerApp, setPaused } from './index.js';
import type { ApiStore, NewRun } from './index.js';

let platform: Platform;
let api: ApiStore;
let ours: string;
let theirs: string;

const tenants = { scope: 'function' as const, key: 'event.data.tenant' };
const shared = { scope: 'env' as const, key: 'event.data.region' };
const concurrency = [
  { ...tenants, limit: 2 },
  { ...shared, limit: 5 },
];
const slotOf = (functionId: string, key: string) => `${concurrencySlotPrefix(functionId, tenants)}${key}`;

beforeAll(async () => {
  platform = await createPlatform();
  api = createApiStore(platform.tenant);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
  const functions = ['ship', 'mail', 'idle', 'many'].map((id) => functionConfig(id));
  functions[0] = { ...functions[0]!, concurrency, singleton: { mode: 'queue' } };
  await registerApp(platform.tenant, ours, manifest({ functions }));
});
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const receivedAt = '2026-01-02T03:04:05.678Z';
const later = '2100-01-01T00:00:00.250Z';
const earlier = '2020-01-01T00:00:00.000Z';

interface Entry {
  state: 'arrived' | 'held' | 'queued' | 'admitted' | 'resting';
  functionId?: string;
  keys?: FlowKeys;
  resumed?: boolean;
  lane?: string;
  dueAt?: string;
}

/** A run in the queue, as the decision pass leaves it. */
async function enqueue(entry: Entry): Promise<NewRun> {
  const { state, functionId = 'ship', keys = {}, resumed = false, lane = null, dueAt = null } = entry;
  const [run] = await startRuns(platform, platform.ours.scope, 1, { functionId });
  await platform.admin.query('update runs set limited = true where id = $1', [run!.id]);
  await platform.admin.query(
    `insert into queue_entries (run_id, environment_id, event_id, function_id, state, keys, bytes, received_at, position,
      resumed, lane, due_at) values ($1, $2, $3, $4, $5, $6, 0, $7, $7, $8, $9, $10)`,
    [run!.id, ours, run!.eventId, functionId, state, keys, receivedAt, resumed, lane, dueAt],
  );
  return run!;
}

async function addLane(
  lane: string,
  of: { blockedBy?: string; readyAt?: string; throttle?: string; functionId?: string },
): Promise<string> {
  const { blockedBy = null, readyAt = earlier, throttle = null, functionId = 'ship' } = of;
  await platform.admin.query(
    `insert into queue_lanes (environment_id, lane, function_id, resumed, slots, throttle, position, blocked_by, ready_at)
      values ($1, $2, $3, false, '{}', $4, $5, $6, $7)`,
    [ours, lane, functionId, throttle, receivedAt, blockedBy, readyAt],
  );
  return lane;
}

async function take(slot: string, run: NewRun): Promise<void> {
  await platform.admin.query(
    'insert into slots (environment_id, slot, run_id, taken_at) values ($1, $2, $3, $4)',
    [ours, slot, run.id, receivedAt],
  );
}

const clear = () => platform.admin.query('truncate queue_entries, queue_lanes, slots, run_events');

describe('what a run waits for', () => {
  test.each<[string, Entry, Parameters<typeof addLane>[1] | undefined, unknown]>([
    [
      'a debounce',
      { state: 'held', keys: { debounce: 'k', batch: 'b' }, dueAt: later },
      undefined,
      { rule: 'debounce', key: 'k', until: later, since: receivedAt },
    ],
    [
      'a batch',
      { state: 'held', keys: { batch: '' }, dueAt: later },
      undefined,
      { rule: 'batch', until: later, since: receivedAt },
    ],
    ['a pause', { state: 'queued' }, { blockedBy: 'paused:ship' }, { rule: 'paused', since: receivedAt }],
    [
      'a slot',
      { state: 'queued' },
      { blockedBy: slotOf('ship', 'a:b') },
      { rule: 'concurrency', key: 'a:b', since: receivedAt },
    ],
    [
      'a slot, having begun before',
      { state: 'queued', resumed: true },
      { blockedBy: slotOf('ship', 'a') },
      { rule: 'concurrency', key: 'a' },
    ],
    [
      'another run',
      { state: 'queued' },
      { blockedBy: `${singletonSlotPrefix('ship')}` },
      { rule: 'singleton', since: receivedAt },
    ],
    [
      'its turn',
      { state: 'queued' },
      { readyAt: later, throttle: 't' },
      { rule: 'throttle', key: 't', until: later, since: receivedAt },
    ],
    ['nothing any more', { state: 'queued' }, { readyAt: earlier, throttle: 't' }, undefined],
    ['a worker', { state: 'queued' }, { blockedBy: 'worker:shop' }, { rule: 'worker', since: receivedAt }],
    ['nothing yet', { state: 'arrived' }, undefined, undefined],
    ['nothing, being at work', { state: 'admitted' }, { blockedBy: 'paused:ship' }, undefined],
  ])('%s', async (_what, entry, lane, expected) => {
    const name = `lane ${Math.random()}`;
    if (lane !== undefined) await addLane(name, lane);
    const { id } = await enqueue({ ...entry, lane: name });
    const [detail, page] = await Promise.all([api.getRun(ours, id), api.listRuns(ours, { limit: 1 })]);
    expect(detail!.waitingFor).toEqual(expected);
    expect(page.runs[0]).toMatchObject({ id, ...(expected === undefined ? {} : { waitingFor: expected }) });
    await clear();
  });

  test('is nothing once it has ended', async () => {
    const run = await enqueue({ state: 'held', keys: { debounce: 'k' }, dueAt: later });
    const [winner] = await startRuns(platform, platform.ours.scope, 1);
    await platform.admin.query(
      `update runs set status = 'skipped', ended_at = now(), skip_reason = 'debounce', joined_run_id = $2 where id = $1`,
      [run.id, winner!.id],
    );
    const skipped = { status: 'skipped', skipReason: 'debounce', joinedRunId: winner!.id };
    const detail = await api.getRun(ours, run.id);
    expect(detail).toMatchObject(skipped);
    expect(detail).not.toHaveProperty('waitingFor');
    expect((await api.getEvent(ours, run.eventId))!.runs).toMatchObject([skipped]);
    const [found] = await createIngestStore(platform.tenant).eventRuns(ours, [run.eventId]);
    expect(found!.runs).toMatchObject([skipped]);
    await clear();
  });
});

test('a batch tells how many events it has, and the first of them', async () => {
  const run = await enqueue({ state: 'resting' });
  const [other] = await startRuns(platform, platform.ours.scope, 1);
  expect(await api.getRun(ours, run.id)).not.toHaveProperty('batch');
  await platform.admin.query(
    `insert into run_events (run_id, place, environment_id, event_id)
      select $1, n, $2, case n when 0 then $3::uuid else $4::uuid end from generate_series(0, $5) n`,
    [run.id, ours, run.eventId, other!.eventId, limits.listedEventsMax],
  );
  const { count, eventIds } = (await api.getRun(ours, run.id))!.batch!;
  expect(count).toBe(limits.listedEventsMax + 1);
  expect(eventIds).toHaveLength(limits.listedEventsMax);
  expect(eventIds.slice(0, 2)).toEqual([run.eventId, other!.eventId]);
  await clear();
});

describe('the queue of a function', () => {
  test('counts what waits by its reason, and names who holds the slots', async () => {
    await addLane('blocked', { blockedBy: slotOf('ship', 'a') });
    await addLane('slow', { readyAt: later, throttle: 't' });
    await addLane('free', {});
    const gathering = await enqueue({
      state: 'held',
      keys: { batch: 'b' },
      dueAt: '2100-01-01T00:00:00.000Z',
    });
    await platform.admin.query('insert into run_events values ($1, 0, $2, $3), ($1, 1, $2, $3)', [
      gathering.id,
      ours,
      gathering.eventId,
    ]);
    for (const lane of ['blocked', 'blocked', 'slow', 'free']) await enqueue({ state: 'queued', lane });
    await enqueue({ state: 'arrived' });
    const holders = [await enqueue({ state: 'admitted' }), await enqueue({ state: 'resting' })];
    for (const holder of holders) await take(slotOf('ship', 'a'), holder);
    const inRegion = `${concurrencySlotPrefix('ship', shared)}eu`;
    await take(inRegion, holders[0]!);
    const mail = await enqueue({ state: 'admitted', functionId: 'mail' });
    await take(inRegion, mail);
    await take(slotOf('mail', 'a'), mail);
    const queue = await api.getQueue(ours, 'ship');
    const held = (...runs: NewRun[]) =>
      expect.arrayContaining(runs.map(({ id }) => ({ id, since: receivedAt })));
    const since = receivedAt;
    expect(queue).toEqual({
      functionId: 'ship',
      waiting: { batch: 1, concurrency: 2, throttle: 1, ready: 1 },
      nextAt: '2100-01-01T00:00:00.000Z',
      groups: expect.arrayContaining([
        { rule: 'batch', key: 'b', runs: 1, events: 2, since, until: '2100-01-01T00:00:00.000Z' },
        { rule: 'concurrency', key: 'a', runs: 2, since },
        { rule: 'throttle', key: 't', runs: 1, since, until: later },
        { runs: 1, since },
      ]),
      slots: expect.arrayContaining([
        {
          ...{ rule: 'concurrency', scope: 'function', key: 'a', inUse: 2, limit: 2 },
          runs: held(...holders),
        },
        {
          ...{ rule: 'concurrency', scope: 'env', key: 'eu', inUse: 2, limit: 5 },
          runs: held(holders[0]!, mail),
        },
      ]),
    });
    expect([queue!.groups.length, queue!.slots.length]).toEqual([4, 2]);
    expect(await api.getQueue(theirs, 'ship')).toBeUndefined();
    expect(await api.listQueues(theirs)).toEqual([]);
    await clear();
  });

  test('tells of a slot that nobody holds any more, and of one whose rule is gone, without a limit', async () => {
    await addLane('old', { blockedBy: `${concurrencySlotPrefix('ship', { scope: 'function' })}` });
    await enqueue({ state: 'queued', lane: 'old' });
    expect((await api.getQueue(ours, 'ship'))!.slots).toEqual([
      { rule: 'concurrency', scope: 'function', inUse: 0, runs: [] },
    ]);
    await clear();
  });

  test('is in the list when anything waits there, or it is paused', async () => {
    await enqueue({ state: 'held', functionId: 'mail', keys: { debounce: 'k' }, dueAt: later });
    await enqueue({ state: 'admitted', functionId: 'ship' });
    await setPaused(platform.tenant, { environmentId: ours, functionId: 'idle', paused: true });
    expect(await api.listQueues(ours)).toEqual([
      { functionId: 'idle', pausedAt: expect.any(String), waiting: {} },
      { functionId: 'mail', waiting: { debounce: 1 }, nextAt: later },
    ]);
    await setPaused(platform.tenant, { environmentId: ours, functionId: 'idle', paused: false });
    await clear();
  });

  test('is counted and listed up to its limits', async () => {
    const run = await enqueue({ state: 'resting', functionId: 'many' });
    const entries = limits.queueCountMax + 100;
    await platform.admin.query(
      `insert into queue_entries (run_id, environment_id, event_id, function_id, state, keys, bytes, received_at,
          position, lane)
        select gen_random_uuid(), $1, gen_random_uuid(), 'many', 'queued', '{}', 0, now(), now(), 'lane ' || n % $3
        from generate_series(1, $2) n`,
      [ours, entries, limits.queueGroupsMax + 1],
    );
    await platform.admin.query(
      `insert into queue_lanes (environment_id, lane, function_id, resumed, slots, position, blocked_by, ready_at)
        select $1, 'lane ' || n, 'many', false, '{}', now(), $3 || n, now() from generate_series(0, $2) n`,
      [ours, limits.queueGroupsMax, slotOf('many', 'k')],
    );
    await platform.admin.query(
      `insert into slots (environment_id, slot, run_id) select $1, $2, gen_random_uuid() from generate_series(1, $3)`,
      [ours, slotOf('many', 'k0'), limits.slotRunsMax + 5],
    );
    await take(slotOf('many', 'k0'), run);
    const { waiting, groups, slots } = (await api.getQueue(ours, 'many'))!;
    expect(waiting).toEqual({ concurrency: limits.queueCountMax });
    expect(groups).toHaveLength(limits.queueGroupsMax);
    expect(slots).toHaveLength(limits.queueGroupsMax);
    const busy = slots.find(({ key }) => key === 'k0')!;
    expect(busy).toMatchObject({ inUse: limits.slotRunsMax + 6 });
    expect(busy.runs).toHaveLength(limits.slotRunsMax);
    await clear();
  });
});

/** What becomes of runs that were asked to stop, or are too late to begin, and that no executor drives. */
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createApiStore, createCollectorStore, registerApp } from '@ironflow/database';
import { appManifestSchema, subjects } from '@ironflow/schema';
import type { RunNotice, Scope } from '@ironflow/schema';
import { eventually, stopSharedServers } from '@ironflow/testing';
import { createWorld } from './testing/world.js';
import type { World } from './testing/world.js';

let world: World;
let scope: Scope;
beforeEach(async () => {
  world = await createWorld();
  [scope] = world.scopes;
});
afterEach(() => world.stop());
afterAll(stopSharedServers);

const shop = { id: 'shop', mode: 'push' as const };
const fleet = { id: 'fleet', mode: 'pull' as const };
const onOrder = [{ event: 'order.*' }];

test('a run that was asked to stop is activated, so that somebody ends it', async () => {
  await world.register(scope, shop, { f: onOrder });
  const activations = world.takePush();
  await world.startScheduler({ sweepIntervalMs: 60_000 });
  await world.publish(await world.store(scope, ['order.placed']));
  await eventually(() => expect(activations).toHaveLength(1));
  const [run] = await world.runs();
  const { eventId, runId } = { eventId: run!.event_id, runId: run!.id };
  world.jetstream.notices.publishStop({
    scope,
    runId,
    eventId,
    functionId: 'f',
    appId: 'shop',
    mode: 'push',
  });
  await eventually(() => expect(activations).toHaveLength(2));
  expect(activations[1]!.activation.runId).toBe(runId);
});

test('a run that is routed after the event that cancels it is asked to stop, and none whose event came later', async () => {
  const ship = { id: 'ship', triggers: onOrder, cancelOn: [{ event: 'cancelled' }] };
  const url = 'http://127.0.0.1:9/ironflow';
  await registerApp(
    world.database,
    scope.environmentId,
    appManifestSchema.parse({ ...shop, url, functions: [ship] }),
  );
  const query = (name: string, text: string) => world.database.query<{ id: string }>({ name, text }, []);
  const stopped = () =>
    query('stopped', 'select event_id as id from runs where stop_requested_at is not null order by id');
  const events = 'select event_id as id from awaited_events';
  await world.startScheduler({ sweepIntervalMs: 1_000 });
  const [overtaken] = await world.store(scope, ['order.placed']);
  const [cancelling] = await world.store(scope, ['cancelled']);
  const [later] = await world.store(scope, ['order.placed']);
  await world.publish([cancelling!, later!]);
  await eventually(async () => expect(await query('awaited', events)).toHaveLength(1));
  await eventually(async () => expect(await world.runs()).not.toEqual([]));
  await world.publish([overtaken!]);
  await eventually(async () => expect(await stopped()).toEqual([{ id: overtaken!.id }]), {
    timeoutMs: 20_000,
  });
  await eventually(async () => expect(await query('awaited', events)).toEqual([]), { timeoutMs: 20_000 });
  expect(await stopped()).toHaveLength(1);
  expect(await world.runs()).toHaveLength(2);
}, 60_000);

const inTime = (app: typeof shop | typeof fleet) =>
  registerApp(
    world.database,
    scope.environmentId,
    appManifestSchema.parse({
      ...app,
      ...(app.mode === 'push' ? { url: 'http://127.0.0.1:9/ironflow' } : {}),
      functions: [{ id: 'soon', triggers: onOrder, startDeadlineMs: 200 }],
    }),
  );
const expired = async () =>
  (
    await world.database.query<{ expired: boolean }>(
      { name: 'expired', text: 'select start_expired_at is not null as expired from runs' },
      [],
    )
  ).map((row) => row.expired);

test('a run that has not begun in time is activated once more, so that somebody skips it', async () => {
  await inTime(shop);
  const activations = world.takePush();
  await world.startScheduler({ sweepIntervalMs: 60_000 });
  await world.publish(await world.store(scope, ['order.placed']));
  await eventually(() => expect(activations).toHaveLength(2));
  expect(await expired()).toEqual([true]);
  expect(await world.runs()).toMatchObject([{ status: 'queued', wake: 2 }]);
});

describe('an app without a worker', () => {
  test('has a run that has not begun in time skipped, and tells who waits for it', async () => {
    await inTime(fleet);
    const heard: RunNotice[] = [];
    world.jetstream.notices.onRun(subjects.runNoticesOf(scope, '*'), (notice) => heard.push(notice));
    await world.startScheduler({ sweepIntervalMs: 60_000 });
    await world.publish(await world.store(scope, ['order.placed']));
    await eventually(() => expect(heard).toMatchObject([{ status: 'skipped', functionId: 'soon' }]));
    expect(await world.runs()).toMatchObject([{ status: 'skipped', skip_reason: 'start_deadline' }]);
    const timers = await world.database.query({ name: 'timers_left', text: 'select 1 from timers' }, []);
    expect(timers).toEqual([]);
  });

  test('has a run that was asked to stop end, and tells who waits for it', async () => {
    await world.register(scope, fleet, { drive: onOrder });
    await world.startScheduler({ sweepIntervalMs: 60_000 });
    await world.publish(await world.store(scope, ['order.placed']));
    await eventually(async () => expect((await world.runs())[0]?.status).toBe('waiting_for_worker'));
    const [run] = await world.runs();
    const { eventId, runId } = { eventId: run!.event_id, runId: run!.id };
    const heard: RunNotice[] = [];
    world.jetstream.notices.onRun(subjects.runNoticesOf(scope, runId), (notice) => heard.push(notice));
    await createApiStore(world.database).requestStop(scope.environmentId, runId);
    const notice = { scope, runId, eventId, functionId: 'drive', appId: 'fleet', mode: 'pull' as const };
    world.jetstream.notices.publishStop(notice);
    await eventually(() => expect(heard).toMatchObject([{ status: 'cancelled', eventId }]));
    expect((await world.runs())[0]?.status).toBe('cancelled');
  });

  test('does not end a run whose journal says more than PostgreSQL has taken', async () => {
    await world.register(scope, fleet, { drive: onOrder });
    await world.startScheduler({ sweepIntervalMs: 100 });
    await world.publish(await world.store(scope, ['order.placed', 'order.placed']));
    const resting = { status: 'waiting_for_worker' };
    await eventually(async () => expect(await world.runs()).toMatchObject([resting, resting]));
    const [run, marker] = await world.runs();
    const runId = run!.id;
    const { environmentId } = scope;
    const appended = await world.jetstream.journal.append({
      scope,
      message: {
        environmentId,
        runId,
        functionId: 'drive',
        prev: 0,
        writer: { activation: 1, delivery: 1, executor: 'gone' },
        activatedAtMs: 1,
        entries: [{ type: 'run', run: { kind: 'completed', served: 1 } }],
      },
      expectedSequence: 0,
      counter: 1,
    });
    if (appended.kind !== 'appended') throw new Error(`the entry is ${appended.kind}`);
    const of = { scope, functionId: 'drive', appId: 'fleet', mode: 'pull' as const };
    for (const { id, event_id: eventId } of [run!, marker!]) {
      await createApiStore(world.database).requestStop(environmentId, id);
      world.jetstream.notices.publishStop({ ...of, runId: id, eventId });
    }
    const statusOf = async (id: string) => (await world.runs()).find((row) => row.id === id)?.status;
    await eventually(async () => expect(await statusOf(marker!.id)).toBe('cancelled'));
    expect(await statusOf(runId)).toBe('queued');
    const collector = createCollectorStore(world.database);
    const journalSeq = appended.sequence;
    const ending = { runId, environmentId, prev: 0, journalSeq, steps: [], startedAtMs: 1 };
    await collector.apply([{ ...ending, status: 'completed', served: 1 }]);
    expect(await statusOf(runId)).toBe('completed');
  });
});

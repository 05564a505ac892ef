import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import { createFlowStore, createRegistryReader, createSchedulerStore, setPaused } from '@ironflow/database';
import type { Scope } from '@ironflow/schema';
import { createLogger } from '@ironflow/service';
import { createManualClock, eventually, stopSharedServers } from '@ironflow/testing';
import { createFlowControl } from './flow-control.js';
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
const oneOfEach = {
  triggers: [{ event: 'order.placed' }],
  concurrency: [{ limit: 1, scope: 'function' as const, key: 'event.id' }],
};
/** No sweep helps. */
const sweepIntervalMs = 600_000;

const countOf = async (table: string, condition: string): Promise<number> => {
  const text = `select count(*)::int as count from ${table} where ${condition}`;
  const [row] = await world.database.query<{ count: number }>(
    { name: `count ${table} ${condition}`, text },
    [],
  );
  return row!.count;
};

test('a function that is resumed lets all of its runs go on, however many keys they have', async () => {
  // More than one pass asks for.
  const runs = 450;
  const { environmentId } = scope;
  await world.register(scope, shop, { ship: oneOfEach });
  await setPaused(world.database, { environmentId, functionId: 'ship', paused: true });
  const activations = world.takePush();
  await world.startScheduler({ sweepIntervalMs });
  const events = await world.store(
    scope,
    Array.from({ length: runs }, () => 'order.placed'),
  );
  await Promise.all(events.map((event) => world.publish([event])));
  await eventually(async () => expect(await countOf('queue_lanes', `blocked_by = 'paused:ship'`)).toBe(runs));
  expect(activations).toEqual([]);

  const version = await setPaused(world.database, { environmentId, functionId: 'ship', paused: false });
  await world.jetstream.bucket('SYS_functions').put(environmentId, String(version));
  await eventually(() => expect(activations).toHaveLength(runs));
});

test('what is due and cannot be decided, since its run is about to end, is looked at ever more seldom', async () => {
  const { environmentId } = scope;
  await world.register(scope, shop, { ship: oneOfEach });
  await setPaused(world.database, { environmentId, paused: true });
  const scheduler = await world.startScheduler({ sweepIntervalMs });
  await world.publish(await world.store(scope, ['order.placed']));
  await eventually(async () => expect(await countOf('queue_lanes', 'true')).toBe(1));
  await scheduler.stop();
  const [run] = await world.runs();
  await createSchedulerStore(world.database).requestStopOf([run!.id]);
  const again = { name: 'arrive again', text: `update queue_entries set state = 'arrived', lane = null` };
  await world.database.query(again, []);

  const clock = createManualClock();
  const store = createFlowStore(world.database);
  let passes = 0;
  const flow = createFlowControl({
    clock,
    store: {
      ...store,
      due: async (environmentIds) => {
        const due = await store.due(environmentIds);
        passes += 1;
        return due;
      },
    },
    registries: createRegistryReader(world.database),
    presence: { isPresent: () => true },
    activator: { publish: () => Promise.resolve({ stored: 0, turnedAway: 0 }) },
    debounceView: { show: () => undefined },
    notices: { publishRun: () => undefined, publishWaits: () => undefined },
    requestStop: () => Promise.resolve(),
    metrics: { flow: () => undefined },
    logger: createLogger({ service: 'scheduler', level: 'silent' }),
  });
  flow.ask(environmentId, {});
  const pauses = [1, 2, 4, 8, 16, 32, 64, 128, 256, 500, 500];
  for (const [index, pauseMs] of pauses.entries()) {
    await eventually(() => expect([passes, clock.pending]).toEqual([index + 1, 1]));
    await clock.advance(pauseMs - 1);
    expect(clock.pending).toBe(1);
    await clock.advance(1);
  }
  await flow.stop();
});

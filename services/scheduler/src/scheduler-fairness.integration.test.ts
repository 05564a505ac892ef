import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createSchedulerStore } from '@ironflow/database';
import type { SchedulerStore } from '@ironflow/database';
import { bulkConsumer, consumers, subjects } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import { createMetrics } from '@ironflow/service';
import { eventually, stopSharedServers } from '@ironflow/testing';
import { createWorld } from './testing/world.js';
import type { TakenActivation, World } from './testing/world.js';

let world: World;
let flooding: Scope;
let neighbour: Scope;
beforeEach(async () => {
  world = await createWorld();
  [flooding, neighbour] = world.scopes;
  for (const scope of world.scopes) await world.register(scope, shop, { ship: [{ event: 'order.placed' }] });
});
afterEach(() => world.stop());
afterAll(stopSharedServers);

const shop = { id: 'shop', mode: 'push' as const };
const names = (count: number): string[] => Array.from({ length: count }, () => 'order.placed');
const never = { sweepIntervalMs: 600_000 };
const patience = { timeoutMs: 20_000 };
const runsOf = (activations: readonly TakenActivation[], { environmentId }: Scope): Set<string> =>
  new Set(
    activations
      .filter(({ activation }) => activation.scope.environmentId === environmentId)
      .map(({ activation }) => activation.runId),
  );

/** Its events, all at once. */
async function flood(count: number): Promise<void> {
  const events = await world.store(flooding, names(count));
  await Promise.all(events.map((event) => world.publish([event])));
}

describe('activations', () => {
  const flow = () =>
    bulkConsumer({
      environmentId: flooding.environmentId,
      filterSubject: subjects.bulkActivationsOf(flooding),
    });

  /** As many floods as it takes until executors were heard of; answers how many runs there are. */
  const floodUntilBulk = async (): Promise<number> => {
    for (let runs = 100; ; runs += 100) {
      world.jetstream.notices.publishExecutor();
      await world.jetstream.connection.nats.flush();
      await flood(100);
      await eventually(async () => expect(await world.runs()).toHaveLength(runs), patience);
      const bulk = { name: 'test_bulk_runs', text: 'select id from runs where bulk' };
      if ((await world.database.query(bulk, [])).length > 0) return runs;
    }
  };

  test('of a flood go by the lane of its environment, so that a neighbour waits behind few of them', async () => {
    await world.startScheduler(never);
    const told: string[] = [];
    world.jetstream.notices.onBulk(({ scope }) => told.push(scope.environmentId));
    const runs = await floodUntilBulk();
    await world.publish(await world.store(neighbour, names(1)));
    const activations = world.takePush();
    await eventually(() => expect(runsOf(activations, neighbour).size).toBe(1), patience);
    const others = world.take(flow());
    await eventually(() => expect(runsOf([...activations, ...others], flooding).size).toBe(runs), patience);
    expect(runsOf(others, flooding).size).toBeGreaterThan(0);
    expect([...runsOf(others, flooding)].some((id) => runsOf(activations, flooding).has(id))).toBe(false);
    expect(new Set(told)).toEqual(new Set([flooding.environmentId]));
  });

  test('that were lost on the lane are found by the sweep, and go by it again', async () => {
    await world.startScheduler({ sweepIntervalMs: 200 });
    await world.jetstream.provisioner.ensureConsumer(consumers.pushExecutor);
    const runs = await floodUntilBulk();
    await world.jetstream.connection.request({ subject: '$JS.API.STREAM.PURGE.STEPS', data: '' });
    const [activations, others] = [world.takePush(), world.take(flow())];
    await eventually(() => expect(runsOf([...activations, ...others], flooding).size).toBe(runs), patience);
    expect(runsOf(others, flooding).size).toBeGreaterThan(0);
  });
});

describe('events', () => {
  test('beyond an environment’s share wait in Postgres and are routed from there, without a sweep', async () => {
    const metrics = createMetrics({ service: 'scheduler' });
    await world.startScheduler({ ...never, metrics, eventShareMax: 10 });
    await flood(300);
    await eventually(async () => expect(await world.runs()).toHaveLength(300), patience);
    expect(await metrics.render()).toMatch(/scheduler_events_total\{[^}]*outcome="let_go"[^}]*\} [1-9]/);
    await eventually(async () =>
      expect(await metrics.render()).toMatch(/scheduler_events_backlog(\{[^}]*\})? 0/),
    );
    await metrics.stop();
  });

  test('of a flood are each routed once by two schedulers that let go of them', async () => {
    const activations = world.takePush();
    await Promise.all([1, 2].map(() => world.startScheduler({ ...never, eventShareMax: 10 })));
    await flood(300);
    await eventually(async () => expect(await world.runs()).toHaveLength(300), patience);
    await eventually(() => expect(runsOf(activations, flooding).size).toBe(300), patience);
  });

  test('that wait while Postgres cannot be read are routed later', async () => {
    const store = createSchedulerStore(world.database);
    let failures = 3;
    const unroutedAmong: SchedulerStore['unroutedAmong'] = (ids) => {
      failures -= 1;
      return failures < 0 ? store.unroutedAmong(ids) : Promise.reject(new Error('away'));
    };
    await world.startScheduler({ ...never, eventShareMax: 10, store: { ...store, unroutedAmong } });
    await flood(100);
    await eventually(async () => expect(await world.runs()).toHaveLength(100), patience);
    expect(failures).toBeLessThan(0);
  });

  test('that waited in Postgres when their scheduler ended are found by the sweep of another', async () => {
    const first = await world.startScheduler({ ...never, eventShareMax: 10 });
    await flood(200);
    await first.stop();
    await world.startScheduler({ sweepIntervalMs: 200 });
    await eventually(async () => expect(await world.runs()).toHaveLength(200), patience);
  });
});

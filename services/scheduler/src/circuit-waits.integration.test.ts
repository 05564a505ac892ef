import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import { createSchedulerStore } from '@ironflow/database';
import type { CircuitChange, Scope } from '@ironflow/schema';
import { createManualClock, eventually, stopSharedServers } from '@ironflow/testing';
import { createWorld } from './testing/world.js';
import type { TakenActivation, World } from './testing/world.js';

const onOrder = [{ event: 'order.*' }];
const patience = { timeoutMs: 15_000 };
let world: World;
let scope: Scope;
let activations: TakenActivation[];
beforeEach(async () => {
  world = await createWorld();
  [scope] = world.scopes;
  await world.register(scope, { id: 'shop', mode: 'push' }, { f: onOrder, other: onOrder });
  activations = world.takePush();
});
afterEach(() => world.stop());
afterAll(stopSharedServers);

/** For an hour, as the collector has it when an executor finds the breaker open. */
async function putOff(functionId: string): Promise<void> {
  const runs = `update runs set status = 'waiting', served = wake, journal_seq = 1, deferred_seq = 1,
    deferred_reason = 'circuit_open' where function_id = '${functionId}'`;
  await world.database.query({ name: `put_off_${functionId}`, text: runs }, []);
  const timers = `insert into timers (run_id, step_id, attempt, environment_id, due_at)
    select id, '', 0, environment_id, now() + interval '1 hour' from runs where function_id = '${functionId}'
    on conflict (run_id, step_id) do update set due_at = excluded.due_at`;
  await world.database.query({ name: `arm_${functionId}`, text: timers }, []);
}

function tell(change: CircuitChange): void {
  const of = { scope, functionId: 'f', circuitId: 'c'.repeat(32), atMs: Date.now() };
  world.jetstream.notices.publishCircuit({ ...of, change });
}

const woken = async (): Promise<string[]> =>
  (await world.runs()).filter(({ wake }) => wake > 1).map(({ function_id: functionId }) => functionId);

test.each(['closed', 'reset'] as const)(
  'every run of the function goes on when its breaker is %s',
  async (change) => {
    await world.startScheduler({ sweepIntervalMs: 60_000 });
    await world.publish(await world.store(scope, Array<string>(600).fill('order.placed')));
    await eventually(() => expect(activations).toHaveLength(1_200), patience);
    await putOff('f');
    await putOff('other');
    activations.length = 0;
    tell('opened');
    tell('forced');
    tell(change);
    await eventually(() => expect(activations).toHaveLength(600), patience);
    expect(new Set(await woken())).toEqual(new Set(['f']));
  },
  30_000,
);

test('one run goes on to make the probe that it takes besides', async () => {
  await world.startScheduler({ sweepIntervalMs: 60_000 });
  await world.publish(await world.store(scope, Array<string>(3).fill('order.placed')));
  await eventually(() => expect(activations).toHaveLength(6), patience);
  await putOff('f');
  activations.length = 0;
  tell('probed');
  await eventually(() => expect(activations).toHaveLength(1), patience);
  expect(await woken()).toEqual(['f']);
});

test('a run that is accepted as put off just after the breaker closed is found a moment later', async () => {
  const clock = createManualClock(Date.now());
  const found: number[] = [];
  const store = createSchedulerStore(world.database);
  const endCircuitWaits: typeof store.endCircuitWaits = async (query) => {
    const runIds = await store.endCircuitWaits(query);
    found.push(runIds.length);
    return runIds;
  };
  await world.startScheduler({ clock, store: { ...store, endCircuitWaits } });
  await world.publish(await world.store(scope, ['order.placed']));
  await eventually(() => expect(activations).toHaveLength(2), patience);
  tell('closed');
  await eventually(() => expect(found).toEqual([0]), patience);
  await putOff('f');
  activations.length = 0;
  await clock.advance(5_000);
  await eventually(() => expect(found).toEqual([0, 1]), patience);
  await eventually(async () => {
    await clock.advance(100);
    expect(activations).toHaveLength(1);
  }, patience);
  expect(await woken()).toEqual(['f']);
});

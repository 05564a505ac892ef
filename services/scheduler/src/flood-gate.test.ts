import { expect, test } from '@jest/globals';
import { createLogger } from '@ironflow/service';
import { createManualClock } from '@ironflow/testing';
import { createFloodGate } from './flood-gate.js';

const scopeOf = (environmentId: string) => ({ environmentId, project: environmentId, env: 'prod' });
const [flood, neighbour] = [scopeOf('flood'), scopeOf('neighbour')];

function setup({ hasExecutor = true } = {}) {
  const clock = createManualClock();
  const told: string[] = [];
  let onExecutor = (): void => undefined;
  const state = { pending: 0, isAway: false };
  const gate = createFloodGate({
    clock,
    logger: createLogger({ service: 'scheduler', level: 'silent' }),
    states: {
      consumer: () =>
        state.isAway
          ? Promise.reject(new Error('away'))
          : Promise.resolve({ pending: state.pending, ackFloor: 0, ackPending: 0 }),
    },
    notices: {
      publishBulk: ({ scope }) => void told.push(scope.environmentId),
      onExecutor: (listener) => {
        onExecutor = listener;
        return () => undefined;
      },
    },
  });
  const stop = gate.start();
  if (hasExecutor) onExecutor();
  const bulkOf = (scope: typeof flood, count: number): number =>
    Array.from({ length: count }, () => gate.isBulk(scope)).filter((isBulk) => isBulk).length;
  return { gate, clock, told, state, bulkOf, stop };
}

test('an environment has few places on the way of all until executors have taken what is there', async () => {
  const { bulkOf, clock, state } = setup();
  expect(bulkOf(flood, 100)).toBe(84);
  state.pending = 16;
  await clock.advance(1_000);
  expect(bulkOf(flood, 100)).toBe(100);
  expect(bulkOf(neighbour, 10)).toBe(0);
  state.pending = 0;
  await clock.advance(20);
  expect(bulkOf(flood, 10)).toBe(0);
});

test('a steady load that executors keep up with stays on it, at hundreds a second', async () => {
  const { bulkOf, clock } = setup();
  for (let ms = 0; ms < 1_000; ms += 20) {
    expect(bulkOf(flood, 14)).toBe(0);
    await clock.advance(20);
  }
});

test('nothing goes by a lane without an executor that knows of them, as those of an older version do not', async () => {
  expect(setup({ hasExecutor: false }).bulkOf(flood, 100)).toBe(0);
  const { bulkOf, clock, state } = setup();
  state.pending = 16;
  expect(bulkOf(flood, 20)).toBe(4);
  await clock.advance(15_000);
  expect(bulkOf(flood, 5)).toBe(0);
});

test('executors are told again and again while something is published there, but not each time', async () => {
  const { gate, clock, told } = setup();
  for (let ms = 0; ms < 1_000; ms += 100) {
    gate.tell(flood);
    gate.tell(neighbour);
    await clock.advance(100);
  }
  expect(told).toEqual(['flood', 'neighbour', 'flood', 'neighbour']);
});

test('it looks until there is nothing to give back, also when NATS was away meanwhile', async () => {
  const { bulkOf, clock, state, stop } = setup();
  state.isAway = true;
  expect(bulkOf(flood, 20)).toBe(4);
  await clock.advance(100);
  expect(clock.pending).toBe(1);
  state.isAway = false;
  await clock.advance(20);
  expect(clock.pending).toBe(0);
  bulkOf(flood, 1);
  stop();
  expect(clock.pending).toBe(0);
});

import { EventEmitter } from 'node:events';
import { expect, test } from '@jest/globals';
import type { Clock } from './clock.js';
import { createLogger } from './logger.js';
import { runService } from './run-service.js';
import type { RunServiceOptions } from './run-service.js';

/** A process that notes its exit instead of ending, and a clock whose timers fire when told. */
function setup(start: RunServiceOptions['start'], stopTimeoutMs?: () => number) {
  const events = new EventEmitter();
  const exitCodes: number[] = [];
  let notifyExit = (_code: number) => {};
  const exited = new Promise<number>((resolve) => (notifyExit = resolve));
  const timers = new Set<() => void>();
  const delaysMs: number[] = [];
  const clock: Clock = {
    now: () => 0,
    setTimeout(callback, delayMs) {
      delaysMs.push(delayMs);
      timers.add(callback);
      return { cancel: () => timers.delete(callback) };
    },
  };
  const running = runService({
    name: 'test',
    logger: createLogger({ service: 'test', level: 'silent' }),
    start,
    clock,
    ...(stopTimeoutMs && { stopTimeoutMs }),
    process: {
      on: (event, listener) => events.on(event, listener),
      exit: (code) => {
        exitCodes.push(code);
        notifyExit(code);
      },
    },
  });
  return { events, exitCodes, exited, delaysMs, running, fireTimers: () => timers.forEach((fire) => fire()) };
}

const never = new Promise<void>(() => {});

test.each(['SIGTERM', 'SIGINT'])('%s stops the parts and exits with 0', async (signal) => {
  let isStopped = false;
  const { events, exited, running } = setup(async (lifecycle) => {
    await lifecycle.start('part', () => ({ stop: async () => void (isStopped = true) }));
  });
  await running;
  events.emit(signal);
  expect(await exited).toBe(0);
  expect(isStopped).toBe(true);
});

test('a second signal exits at once', async () => {
  const { events, exited, running } = setup(async (lifecycle) => lifecycle.onStop('stuck', () => never));
  await running;
  events.emit('SIGTERM');
  events.emit('SIGINT');
  expect(await exited).toBe(130);
});

test('a stop that takes too long ends with 1', async () => {
  const { events, exited, running, fireTimers } = setup(async (lifecycle) =>
    lifecycle.onStop('stuck', () => never),
  );
  await running;
  events.emit('SIGTERM');
  fireTimers();
  expect(await exited).toBe(1);
});

test('the time for the stop is asked for as it begins, and has a default', async () => {
  let needsMs = 1;
  const patient = setup(
    async () => void (needsMs = 600_000),
    () => needsMs,
  );
  const plain = setup(async () => {});
  for (const { running, events, exited } of [patient, plain]) {
    await running;
    events.emit('SIGTERM');
    await exited;
  }
  expect([...patient.delaysMs, ...plain.delaysMs]).toEqual([600_000, 25_000]);
});

test('a failed start stops what had started and ends with 1', async () => {
  let isStopped = false;
  const { exited, running } = setup(async (lifecycle) => {
    lifecycle.onStop('first', () => (isStopped = true));
    throw new Error('no database');
  });
  await running;
  expect(await exited).toBe(1);
  expect(isStopped).toBe(true);
});

test('a signal during the start ends with 0, once', async () => {
  const { events, exited, exitCodes, running } = setup(async (lifecycle) => {
    await lifecycle.start('slow', async (stopping) => {
      await new Promise((resolve) => stopping.addEventListener('abort', resolve));
      throw new Error('given up');
    });
  });
  events.emit('SIGTERM');
  await running;
  expect(await exited).toBe(0);
  expect(exitCodes).toEqual([0]);
});

test.each(['uncaughtException', 'unhandledRejection'])('%s ends the process with 1', async (event) => {
  const { events, exited, running } = setup(async () => {});
  await running;
  events.emit(event, new Error('broken invariant'));
  expect(await exited).toBe(1);
});

import { expect, test } from '@jest/globals';
import { createManualClock } from '@ironflow/testing';
import { createHealth } from './health.js';

test('ready when every check passes; a failing, throwing or hanging one is named', async () => {
  const clock = createManualClock();
  const health = createHealth({
    clock,
    checks: {
      good: async () => {},
      bad: () => Promise.reject(new Error('refused')),
      worse: () => {
        throw new Error('at once');
      },
      hanging: () => new Promise(() => {}),
    },
  });
  const readiness = health.readiness();
  await clock.advance(1_000);
  expect(await readiness).toEqual({
    ready: false,
    checks: { good: 'ok', bad: 'failed', worse: 'failed', hanging: 'timed out' },
  });
  expect(clock.pending).toBe(0);
  expect(await createHealth({ checks: { good: async () => {} } }).readiness()).toMatchObject({ ready: true });
});

test('probes within a second share one round of checks', async () => {
  const clock = createManualClock();
  let calls = 0;
  const health = createHealth({ clock, checks: { nats: async () => (calls += 1) } });
  await Promise.all([health.readiness(), health.readiness()]);
  await clock.advance(999);
  await health.readiness();
  expect(calls).toBe(1);
  await clock.advance(1);
  await health.readiness();
  expect(calls).toBe(2);
});

test('a service that stops is not ready, whatever is cached', async () => {
  const controller = new AbortController();
  const health = createHealth({ checks: {}, stopping: controller.signal });
  expect(await health.readiness()).toMatchObject({ ready: true });
  controller.abort();
  expect(await health.readiness()).toMatchObject({ ready: false });
});

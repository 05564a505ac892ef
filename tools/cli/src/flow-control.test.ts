import { expect, test } from '@jest/globals';
import { limits } from '@ironflow/schema';
import { describeCounts, describeFlowControl, describeSlot, describeWaiting } from './flow-control.js';

test('each rule has a line, in the order in which they apply', () => {
  const lines = describeFlowControl({
    priority: 'event.data.p',
    concurrency: [
      { limit: 5, scope: 'function' },
      { limit: 2, scope: 'env', key: 'event.data.tenant' },
    ],
    throttle: { limit: 10, periodMs: 60_000, burst: 3, key: 'event.data.tenant' },
    singleton: { mode: 'skip', key: 'event.data.order' },
    batch: { maxSize: 100, timeoutMs: 5_000 },
    debounce: { periodMs: 500, timeoutMs: 60_000, key: 'event.data.order' },
    rateLimit: { limit: 1, periodMs: 3_600_000, burst: 1 },
    idempotency: 'event.data.id',
  });
  expect(lines).toEqual([
    'once in 24 h by event.data.id',
    'rate limit 1 per 1.0 h',
    'debounce 500 ms, at most 1.0 min by event.data.order',
    'batch of 100 or after 5.0 s',
    'singleton, skip by event.data.order',
    'throttle 10 per 1.0 min, burst 3 by event.data.tenant',
    'concurrency 5',
    'concurrency 2 in the environment by event.data.tenant',
    'priority event.data.p',
  ]);
  expect(describeFlowControl({})).toEqual([]);
});

test('what waits is said the most first, and what was not counted to its end as such', () => {
  const waiting = { throttle: 3, concurrency: limits.queueCountMax, ready: 1 };
  expect(describeCounts({ waiting })).toBe(
    `concurrency ${limits.queueCountMax} or more, throttle 3, ready 1`,
  );
  expect(describeCounts({ waiting: {} })).toBe('none');
});

test('a slot and a wait are told with their keys, where they have one', () => {
  const slot = { rule: 'concurrency', scope: 'env', key: 'eu', inUse: 2, limit: 5, runs: [] } as const;
  expect(describeSlot({ ...slot, runs: [] })).toBe('concurrency in the environment (eu): 2 of 5 in use');
  expect(describeSlot({ rule: 'singleton', scope: 'function', inUse: 1, runs: [] })).toBe(
    'singleton: 1 in use',
  );
  const until = '2030-01-01T00:00:00.000Z';
  expect(describeWaiting({ rule: 'throttle', key: 'k', until })).toBe(`throttle (k) until ${until}`);
  expect(describeWaiting({ rule: 'paused' })).toBe('paused');
});

import { expect, test } from '@jest/globals';
import { concurrencySlotPrefix, pausedObstacle, singletonSlotPrefix, workerObstacle } from '@ironflow/schema';
import type { FlowControl } from '@ironflow/schema';
import { obstaclesGone } from './flow-obstacles.js';

const shared = { scope: 'env' as const, key: 'event.data.region' };
const configs = new Map<string, FlowControl>([
  ['ship', { concurrency: [{ ...shared, limit: 2 }] }],
  ['bill', { concurrency: [{ ...shared, limit: 3 }] }],
]);
const slot = `${concurrencySlotPrefix('ship', shared)}eu`;

function gone(names: string[], used = 0): string[] {
  return obstaclesGone({
    names,
    configs,
    usage: new Map(names.map((name) => [name, used])),
    isPaused: (functionId) => functionId === 'ship',
    isServed: ({ appId }) => appId === 'shop',
  });
}

test('a slot is in the way while all that any function may use of it are taken', () => {
  expect(gone([slot], 3)).toEqual([]);
  expect(gone([slot], 2)).toEqual([slot]);
  const single = `${singletonSlotPrefix('ship')}eu`;
  expect(gone([single], 1)).toEqual([]);
  expect(gone([single], 0)).toEqual([single]);
});

test('a slot of a rule that is gone, and what nobody knows, keep nobody back', () => {
  const old = `${concurrencySlotPrefix('ship', { scope: 'function' })}eu`;
  expect(gone([old, 'something'], 100)).toEqual([old, 'something']);
});

test('a pause lasts for its function, and the want of a worker for its app', () => {
  const resumed = pausedObstacle('bill');
  const served = workerObstacle({ appId: 'shop', buildId: 'b1' });
  expect(gone([pausedObstacle('ship'), resumed, workerObstacle({ appId: 'bank' }), served])).toEqual([
    resumed,
    served,
  ]);
});

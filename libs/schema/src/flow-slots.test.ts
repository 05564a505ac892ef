import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  concurrencySlotPrefix,
  parseObstacle,
  parseSlot,
  pausedObstacle,
  singletonSlotPrefix,
  workerObstacle,
} from './flow-slots.js';

test('a slot of any key is read as what it was called after', () => {
  const key = fc.string({ unit: 'binary' });
  fc.assert(
    fc.property(
      key,
      fc.constantFrom('function' as const, 'env' as const),
      key,
      (expression, scope, value) => {
        const prefix = concurrencySlotPrefix('f-1', { scope, key: expression });
        expect(parseSlot(prefix + value)).toEqual({ rule: 'concurrency', scope, prefix, key: value });
        const own = singletonSlotPrefix('f-1');
        const slot = { rule: 'singleton', scope: 'function', prefix: own, key: value };
        expect(parseSlot(own + value)).toEqual(slot);
        expect(parseObstacle(own + value)).toEqual(slot);
      },
    ),
  );
  expect(parseSlot('paused')).toBeUndefined();
});

test('an obstacle that is no slot says whose it is', () => {
  expect(parseObstacle(pausedObstacle('f-1'))).toEqual({ rule: 'paused', functionId: 'f-1' });
  for (const lane of [{ appId: 'shop' }, { appId: 'shop', buildId: 'b1' }]) {
    expect(parseObstacle(workerObstacle(lane))).toEqual({ rule: 'worker', lane });
  }
  expect(parseObstacle('worker')).toBeUndefined();
});

test('functions share the slots of an environment where the expression is the same, and no others', () => {
  const env = { scope: 'env' as const, key: 'event.data.a' };
  expect(concurrencySlotPrefix('f', env)).toBe(concurrencySlotPrefix('g', env));
  expect(concurrencySlotPrefix('f', env)).not.toBe(
    concurrencySlotPrefix('f', { ...env, key: 'event.data.b' }),
  );
  const own = { ...env, scope: 'function' as const };
  expect(concurrencySlotPrefix('f', own)).not.toBe(concurrencySlotPrefix('g', own));
});

import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createRandom } from './random.js';

test('the same seed and scope give the same numbers, and another scope gives others', () => {
  const draw = (seed: number, scope: string) => {
    const random = createRandom(seed, scope);
    return Array.from({ length: 20 }, () => random.next());
  };
  expect(draw(7, 'a')).toEqual(draw(7, 'a'));
  expect(draw(7, 'a')).not.toEqual(draw(7, 'b'));
  expect(draw(7, 'a')).not.toEqual(draw(8, 'a'));
});

test('whole numbers lie between their bounds, both of them included', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: -50, max: 50 }), fc.nat(20), (seed, from, span) => {
      const random = createRandom(seed);
      const drawn = Array.from({ length: 50 * (span + 1) }, () => random.whole(from, from + span));
      expect(Math.min(...drawn)).toBe(from);
      expect(Math.max(...drawn)).toBe(from + span);
    }),
    { numRuns: 20, seed: 1 },
  );
});

test('shuffling keeps every item once', () => {
  const items = Array.from({ length: 30 }, (_, index) => index);
  const shuffled = createRandom(3).shuffled(items);
  expect(shuffled).not.toEqual(items);
  expect([...shuffled].sort((a, b) => a - b)).toEqual(items);
});

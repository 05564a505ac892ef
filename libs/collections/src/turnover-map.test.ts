import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { TurnoverMap } from './turnover-map.js';

const key = fc.integer({ min: 0, max: 12 });
const operation = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('set' as const), key }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const), key }) },
);

describe('TurnoverMap', () => {
  it('answers what a Map would, in its order', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
        const expected = new Map<number, { n: number }>();
        const actual = new TurnoverMap<number, { n: number }>();
        operations.forEach(({ kind, key }, n) => {
          if (kind === 'set') {
            expected.set(key, { n });
            actual.set(key, { n });
          } else if (kind === 'delete') {
            expect(actual.delete(key)).toBe(expected.delete(key));
          } else {
            expected.clear();
            actual.clear();
          }
          expect([...actual]).toEqual([...expected]);
          expect([...actual.values()]).toEqual([...expected.values()]);
          expect([actual.size, actual.has(key), actual.get(key)]).toEqual([
            expected.size,
            expected.has(key),
            expected.get(key),
          ]);
        });
      }),
    );
  });

  it('goes on over what is left when entries are deleted and added in between', () => {
    const map = new TurnoverMap<string, { name: string }>();
    for (const name of ['a', 'b', 'c']) map.set(name, { name });
    const seen: string[] = [];
    for (const { name } of map.values()) {
      seen.push(name);
      map.delete(name);
      map.delete('b');
      if (name === 'a') map.set('d', { name: 'd' });
    }
    expect(seen).toEqual(['a', 'c', 'd']);
    expect(map.size).toBe(0);
  });
});

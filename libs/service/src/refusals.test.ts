import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createRefusalBook } from './refusals.js';
import type { Refusal } from './refusals.js';

const refusal = (changes: Partial<Refusal> = {}): Refusal => ({
  environmentId: 'e',
  keyId: 'k',
  action: 'run.cancel',
  targetKind: 'runs',
  code: 'role_insufficient',
  address: '192.0.2.1',
  requestId: 'first',
  count: 1,
  ...changes,
});

test('what a key is refused is counted by action and code, with where the last one came from', () => {
  const book = createRefusalBook();
  book.add(refusal());
  book.add(refusal({ address: '192.0.2.2', requestId: 'second' }));
  book.add(refusal({ code: 'run_not_found' }));
  book.add(refusal({ keyId: 'other', count: 3 }));
  expect(book.takeAll()).toEqual([
    refusal({ address: '192.0.2.2', requestId: 'second', count: 2 }),
    refusal({ code: 'run_not_found' }),
    refusal({ keyId: 'other', count: 3 }),
  ]);
  expect(book.isEmpty).toBe(true);
  expect(book.takeAll()).toEqual([]);
});

test('one environment takes no room of another, and what is known is counted however full it is', () => {
  const book = createRefusalBook({ environmentMax: 2, refusalsMax: 3 });
  const added = ['a', 'b', 'c', 'a'].map((keyId) => book.add(refusal({ keyId })));
  expect(added).toEqual([true, true, false, true]);
  expect(book.add(refusal({ environmentId: 'other' }))).toBe(true);
  expect(book.add(refusal({ environmentId: 'third' }))).toBe(false);
  expect(book.takeAll().map(({ count }) => count)).toEqual([2, 1, 1]);
});

test('whatever comes, nothing is counted twice, lost, or kept beyond the bounds', () => {
  const some = fc.record({
    environmentId: fc.constantFrom('e', 'f', 'g'),
    keyId: fc.constantFrom('k', 'l'),
    action: fc.constantFrom('a.b', 'c.d'),
    code: fc.constantFrom('x', 'y'),
  });
  fc.assert(
    fc.property(fc.array(some, { maxLength: 60 }), (all) => {
      const book = createRefusalBook({ environmentMax: 3, refusalsMax: 7 });
      const counted = all.filter((one) => book.add(refusal(one))).length;
      const taken = book.takeAll();
      expect(taken.length).toBeLessThanOrEqual(7);
      expect(taken.reduce((sum, { count }) => sum + count, 0)).toBe(counted);
    }),
  );
});

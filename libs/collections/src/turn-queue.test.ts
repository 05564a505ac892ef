import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { TurnQueue } from './turn-queue.js';

interface Item {
  line: string;
  n: number;
}

const line = fc.constantFrom('a', 'b', 'c', 'd');
const operations = fc.array(
  fc.oneof(
    fc.record({ add: line, times: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ take: fc.integer({ min: 0, max: 30 }) }),
  ),
  { maxLength: 40 },
);

/** Calls `onTake` with what each line had before. */
function perform(
  given: readonly ({ add: string; times: number } | { take: number })[],
  onTake: (before: Map<string, Item[]>, taken: Item[], max: number) => void,
): void {
  const queue = new TurnQueue<Item>();
  const waiting = new Map<string, Item[]>();
  let added = 0;
  for (const one of given) {
    if ('add' in one) {
      for (let n = 0; n < one.times; n += 1) {
        const item = { line: one.add, n: (added += 1) };
        queue.add(one.add, item);
        waiting.set(one.add, [...(waiting.get(one.add) ?? []), item]);
      }
    } else {
      const before = new Map(waiting);
      const taken = queue.take(one.take);
      onTake(before, taken, one.take);
      for (const { line: name } of taken) waiting.set(name, waiting.get(name)!.slice(1));
    }
    const left = [...waiting.values()].reduce((sum, items) => sum + items.length, 0);
    expect(queue.size).toBe(left);
    for (const [name, items] of waiting) expect(queue.sizeOf(name)).toBe(items.length);
  }
}

test('nothing is held back while anything waits, and each line keeps its order', () => {
  fc.assert(
    fc.property(operations, (given) => {
      perform(given, (before, taken, max) => {
        const there = [...before.values()].reduce((sum, items) => sum + items.length, 0);
        expect(taken).toHaveLength(Math.min(max, there));
        for (const [name, items] of before) {
          const own = taken.filter((item) => item.line === name);
          expect(own).toEqual(items.slice(0, own.length));
        }
      });
    }),
  );
});

test('no line gets more than one ahead of another that still waits', () => {
  fc.assert(
    fc.property(operations, (given) => {
      perform(given, (before, taken) => {
        const countOf = (name: string): number => taken.filter((item) => item.line === name).length;
        for (const [name, items] of before) {
          if (countOf(name) === items.length) continue;
          for (const other of before.keys()) expect(countOf(other) - countOf(name)).toBeLessThanOrEqual(1);
        }
      });
    }),
  );
});

import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Fifo } from './fifo.js';

test('does what an array does', () => {
  const operation = fc.oneof(
    { weight: 3, arbitrary: fc.record({ push: fc.integer({ min: 1, max: 3_000 }) }) },
    { weight: 2, arbitrary: fc.record({ shift: fc.integer({ min: 1, max: 3_000 }) }) },
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 20 }), (operations) => {
      const fifo = new Fifo<number>();
      const model: number[] = [];
      let pushed = 0;
      for (const one of operations) {
        for (let n = 0; 'push' in one && n < one.push; n += 1) {
          fifo.push((pushed += 1));
          model.push(pushed);
        }
        if ('shift' in one) {
          const shifted = Array.from({ length: one.shift }, () => fifo.shift());
          expect(shifted.filter((item) => item !== undefined)).toEqual(model.splice(0, one.shift));
        }
        expect(fifo.size).toBe(model.length);
      }
    }),
    { numRuns: 50 },
  );
});

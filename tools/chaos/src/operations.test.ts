import { expect, test } from '@jest/globals';
import { modes } from './case.js';
import { functionsOf } from './cases.js';
import { operationNames, planOperations } from './operations.js';

test('a seed can be replayed, and a longer run of it begins the same', () => {
  const short = planOperations({ seed: 7, minutes: 3 });
  expect(planOperations({ seed: 7, minutes: 3 })).toEqual(short);
  expect(planOperations({ seed: 7, minutes: 20 }).slice(0, short.length)).toEqual(short);
  expect(planOperations({ seed: 8, minutes: 3 })).not.toEqual(short);
});

test('in two minutes an operator does everything, one thing after the other, and leaves the end quiet', () => {
  const registered = modes.flatMap((mode) => functionsOf(mode, '').map(({ id }) => id));
  for (let seed = 0; seed < 50; seed += 1) {
    const operations = planOperations({ seed, minutes: 2 });
    expect(new Set(operations.map(({ name }) => name))).toEqual(new Set(operationNames));
    for (const [index, { name, atMs, forMs, functionId }] of operations.entries()) {
      expect(atMs + forMs).toBeLessThan(operations[index + 1]?.atMs ?? 105_001);
      if (name === 'pause-function') expect(registered).toContain(functionId);
      else expect(functionId).toBeUndefined();
    }
  }
});

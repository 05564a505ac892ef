import { expect, test } from '@jest/globals';
import { simulate } from './simulation.js';

/** Each takes some ten milliseconds; `npm run simulation` takes as many as one likes. */
const seeds = Number(process.env['SIMULATION_SEEDS'] ?? 20);

test('whatever goes wrong, every run comes to what it would have come to, and no invariant is broken', async () => {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const { violations } = await simulate({ seed });
    expect({ seed, violations }).toEqual({ seed, violations: [] });
  }
}, 600_000);

test('a seed takes the same way again', async () => {
  const first = await simulate({ seed: 7, isTraced: true });
  const second = await simulate({ seed: 7, isTraced: true });
  expect(first.trace.length).toBeGreaterThan(20);
  expect(second).toEqual(first);
}, 600_000);

test('without faults the same holds', async () => {
  for (let seed = 1; seed <= seeds / 2; seed += 1) {
    const { violations } = await simulate({ seed, isFaulty: false });
    expect({ seed, violations }).toEqual({ seed, violations: [] });
  }
}, 600_000);

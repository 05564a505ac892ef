import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { faultKinds } from './fault-kinds.js';
import { planFaults } from './plan.js';
import type { PlannedFault } from './plan.js';

const plan = (seed: number, minutes: number, isCluster = false) =>
  planFaults({ seed, minutes, kinds: faultKinds, isCluster });
const endOf = ({ atMs, forMs }: PlannedFault) => atMs + forMs;

test('a seed can be replayed, and another seed does something else', () => {
  expect(plan(42, 10)).toEqual(plan(42, 10));
  expect(plan(42, 10)).not.toEqual(plan(43, 10));
});

test('a longer run of the same seed begins with the same faults', () => {
  const short = plan(5, 3);
  expect(plan(5, 10).slice(0, short.length)).toEqual(short);
});

test('every kind that can be played is played before one comes again, and NATS is wiped once', () => {
  const faults = plan(1, 60);
  const names = faults.map(({ kind }) => kind.name);
  const firstRound = names.slice(0, faultKinds.length - 1);
  expect(new Set(firstRound).size).toBe(firstRound.length);
  expect(new Set(names)).toEqual(new Set(faultKinds.map(({ name }) => name)));
  expect(names.filter((name) => name === 'wipe-nats')).toHaveLength(1);
  expect(plan(1, 60, true).some(({ kind }) => kind.name === 'wipe-nats')).toBe(false);
});

test('faults leave the beginning and the end quiet, and those that overlap strike different parts', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 20 }), (seed, minutes) => {
      const faults = plan(seed, minutes);
      expect(faults.length).toBeGreaterThan(0);
      for (const [index, fault] of faults.entries()) {
        expect(fault.atMs).toBeGreaterThanOrEqual(10_000);
        expect(endOf(fault)).toBeLessThanOrEqual(minutes * 60_000 - 10_000);
        const others = faults.slice(0, index).filter((other) => endOf(other) >= fault.atMs);
        expect(others.length).toBeLessThanOrEqual(1);
        for (const other of others) expect(other.kind.target.part).not.toBe(fault.kind.target.part);
      }
    }),
    { numRuns: 100, seed: 1 },
  );
});

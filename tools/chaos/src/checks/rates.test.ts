/** Two in four seconds, and a burst of two: the next one is due every two seconds. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { rateMax } from '../cases/flow.js';
import type { GroupedRun } from './flow.js';
import { checkRate } from './rates.js';

const run = (receivedAtMs: number, isLetIn: boolean, at: { storedMs?: number; group?: string } = {}) => {
  const { storedMs = receivedAtMs, group = 'limited-push 0' } = at;
  const status = isLetIn ? 'completed' : 'skipped';
  return {
    ...{ name: 'limited', group, event: { receivedAtMs } },
    run: { id: `r${receivedAtMs}`, status, createdAtMs: storedMs, endedAtMs: storedMs },
  } as unknown as GroupedRun;
};
const rulesOf = (...runs: GroupedRun[]) => [...new Set(checkRate(runs).map(({ rule }) => rule))];
const undue = 'a rate limit skipped what it had room for';

test('what goes by the rule, and one more in a period', () => {
  const burst = [run(10_000, true), run(10_001, true), run(10_002, false), run(12_001, true)];
  expect(rulesOf(...burst)).toEqual([]);
  expect(rulesOf(...burst, run(13_999, true))).toEqual(['a rate limit let in too many']);
  expect(rulesOf(...burst, run(14_000, true))).toEqual([]);
});

test('keys do not know of one another', () => {
  const group = 'limited-push 1';
  expect(rulesOf(run(0, true), run(1, true), run(2, true, { group }), run(3, true, { group }))).toEqual([]);
  expect(rulesOf(run(0, true), run(1, true), run(2, false, { group }))).toEqual([undue]);
});

test('a skip without two before it, unless it was decided after two that came later', () => {
  expect(rulesOf(run(0, true), run(1_000, false))).toEqual([undue]);
  expect(rulesOf(run(0, true), run(1, true), run(2_001, false))).toEqual([undue]);
  const later = [run(5_000, true), run(5_001, true)];
  expect(rulesOf(run(0, false, { storedMs: 6_000 }), ...later)).toEqual([]);
  expect(rulesOf(run(0, false, { storedMs: 3_000 }), ...later)).toEqual([undue]);
});

test('whatever comes, one that lets in as a leaky bucket does is found faultless', () => {
  const { limit, periodMs, burst } = rateMax;
  const dropMs = periodMs / limit;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 60 }), (gaps) => {
      let [levelMs, lastMs] = [0, 0];
      const runs = gaps.map((gapMs) => {
        levelMs = Math.max(0, levelMs - gapMs);
        lastMs += gapMs;
        const isLetIn = levelMs <= (burst - 1) * dropMs;
        if (isLetIn) levelMs += dropMs;
        // Decided at once, so that nothing later can have been before it.
        return run(lastMs, isLetIn, { storedMs: lastMs - 2_000 });
      });
      expect(rulesOf(...runs)).toEqual([]);
    }),
    { numRuns: 200, seed: 1 },
  );
});

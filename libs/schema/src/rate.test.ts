import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { askRate } from './rate.js';

const rate = fc.record({
  limit: fc.integer({ min: 1, max: 50 }),
  periodMs: fc.integer({ min: 1_000, max: 60_000 }),
  burst: fc.integer({ min: 1, max: 20 }),
});

/** The times at which it lets somebody in. */
function letIn(
  policy: { limit: number; periodMs: number; burst: number },
  timesMs: readonly number[],
): number[] {
  let nextAtMs: number | undefined;
  return timesMs.filter((atMs) => {
    const verdict = askRate(policy, nextAtMs, atMs);
    if (verdict.kind === 'in') nextAtMs = verdict.nextAtMs;
    return verdict.kind === 'in';
  });
}

test('in no window of a period, in whatever order the times come, are there more than limit + burst - 1', () => {
  const times = fc.array(fc.integer({ min: 0, max: 200_000 }), { maxLength: 300 });
  fc.assert(
    fc.property(rate, times, (policy, timesMs) => {
      const inMs = letIn(policy, timesMs).sort((a, b) => a - b);
      for (const fromMs of inMs) {
        const within = inMs.filter((atMs) => atMs >= fromMs && atMs < fromMs + policy.periodMs);
        expect(within.length).toBeLessThanOrEqual(policy.limit + policy.burst - 1);
      }
    }),
  );
});

test('after a pause so many come at once as the burst is, and whoever comes when told comes in', () => {
  fc.assert(
    fc.property(rate, fc.integer({ min: 0, max: 10_000 }), (policy, atMs) => {
      const atOnce = letIn(policy, Array<number>(policy.burst + 5).fill(atMs));
      expect(atOnce).toHaveLength(policy.burst);
      let nextAtMs: number | undefined;
      let nowMs = atMs;
      for (let count = 0; count < 100; count += 1) {
        let verdict = askRate(policy, nextAtMs, nowMs);
        if (verdict.kind === 'out') {
          nowMs = verdict.againAtMs;
          verdict = askRate(policy, nextAtMs, nowMs);
        }
        expect(verdict.kind).toBe('in');
        nextAtMs = (verdict as { nextAtMs: number }).nextAtMs;
      }
      // None is starved: a hundred take as long as the rate says, and no longer.
      expect(nowMs - atMs).toBeCloseTo(((100 - policy.burst) * policy.periodMs) / policy.limit, 3);
    }),
  );
});

test('many that come together count as many, and more than the burst come in once nothing is owed', () => {
  const policy = { limit: 10, periodMs: 1_000, burst: 20 };
  const first = askRate(policy, undefined, 0, 15);
  expect(first).toEqual({ kind: 'in', nextAtMs: 1_500 });
  expect(askRate(policy, 1_500, 0, 5)).toEqual({ kind: 'in', nextAtMs: 2_000 });
  expect(askRate(policy, 1_500, 0, 6)).toEqual({ kind: 'out', againAtMs: 100 });
  expect(askRate(policy, undefined, 0, 100)).toEqual({ kind: 'in', nextAtMs: 10_000 });
  expect(askRate(policy, 10_000, 0, 100)).toEqual({ kind: 'out', againAtMs: 10_000 });
  expect(askRate(policy, 10_000, 10_000, 100)).toEqual({ kind: 'in', nextAtMs: 20_000 });
});

test('together or one by one, as many come in', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 30 });
  fc.assert(
    fc.property(rate, sizes, (policy, counts) => {
      let nextAtMs: number | undefined;
      let total = 0;
      for (const count of counts) {
        const verdict = askRate(policy, nextAtMs, 0, count);
        if (verdict.kind === 'out') continue;
        nextAtMs = verdict.nextAtMs;
        total += count;
      }
      // Only the first of all may be larger than the burst.
      expect(total).toBeLessThanOrEqual(Math.max(policy.burst, ...counts));
    }),
  );
});

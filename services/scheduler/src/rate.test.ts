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

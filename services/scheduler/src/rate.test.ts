import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decideArrivals } from './flow-arrivals.js';
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

test('what decides is the time of the event, however late it is routed', () => {
  const entries = [1_000, 2_000, 2_500].map((receivedAtMs, index) => {
    const of = {
      runId: `r${index}`,
      eventId: `e${index}`,
      functionId: 'f',
      appId: 'app',
      mode: 'push' as const,
    };
    const run = { ...of, scope: { environmentId: 'e', project: 'p', env: 'prod' } };
    const arrival = { state: 'arrived' as const, keys: { rateLimit: '' }, bytes: 1, resumed: false };
    return { ...of, ...arrival, receivedAtMs, positionMs: receivedAtMs, run };
  });
  const configs = new Map([['f', { rateLimit: { limit: 1, periodMs: 1_000, burst: 1 } }]]);
  const decision = decideArrivals({ nowMs: 90_000, entries, configs, states: [], holders: new Map() });
  expect(decision.queued.map(({ runId }) => runId)).toEqual(['r0', 'r1']);
  expect(decision.skipped).toEqual([{ runId: 'r2', reason: 'rate_limit', joinedRunId: undefined }]);
});

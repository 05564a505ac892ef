import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { defaultQuotas, quotaBurstSeconds } from '@ironflow/schema';
import type { Quotas } from '@ironflow/schema';
import { askEvents, askRequest } from './quota-guard.js';
import type { QuotaSituation } from './quota-guard.js';

const idle = { queuedRuns: 0, storageBytes: 0 };

function situation(quotas: Partial<Quotas>, changes: Partial<QuotaSituation> = {}): QuotaSituation {
  return { quotas: { ...defaultQuotas, ...quotas }, use: idle, replicas: 1, atMs: 0, ...changes };
}

const one = { count: 1, bytesMax: 10 };

test('ten seconds of a rate come at once, and then as many as it says', () => {
  const perSecond = fc.integer({ min: 1, max: 500 });
  fc.assert(
    fc.property(perSecond, fc.integer({ min: 1, max: 30 }), (limit, seconds) => {
      const taken = (atMs: number, before: number | undefined): [number, number | undefined] => {
        let count = 0;
        for (let nextAtMs = before; ; count += 1) {
          const verdict = askEvents(situation({ eventsPerSecond: limit }, { atMs }), nextAtMs, one);
          if (verdict.kind === 'out') return [count, nextAtMs];
          nextAtMs = verdict.nextAtMs;
        }
      };
      const [burst, nextAtMs] = taken(0, undefined);
      expect(burst).toBe(limit * quotaBurstSeconds);
      const [later] = taken(seconds * 1_000, nextAtMs);
      expect(Math.abs(later - limit * Math.min(seconds, quotaBurstSeconds))).toBeLessThanOrEqual(1);
    }),
    { numRuns: 30 },
  );
});

test('whoever comes again when told is let in, and is told whole seconds', () => {
  const rate = fc.record({
    limit: fc.integer({ min: 1, max: 1_000 }),
    count: fc.integer({ min: 1, max: 1_000 }),
  });
  fc.assert(
    fc.property(rate, fc.integer({ min: 1, max: 4 }), ({ limit, count }, replicas) => {
      let nextAtMs: number | undefined;
      for (let times = 0; times < 30; times += 1) {
        const asked = { count, bytesMax: 1 };
        const verdict = askEvents(situation({ eventsPerSecond: limit }, { replicas }), nextAtMs, asked);
        if (verdict.kind === 'in') {
          nextAtMs = verdict.nextAtMs;
          continue;
        }
        const { retryAfterSeconds } = verdict;
        expect(Number.isInteger(retryAfterSeconds) && retryAfterSeconds! >= 1).toBe(true);
        const atMs = retryAfterSeconds! * 1_000;
        const again = askEvents(situation({ eventsPerSecond: limit }, { replicas, atMs }), nextAtMs, asked);
        expect(again.kind).toBe('in');
        return;
      }
    }),
  );
});

test('replicas share a rate', () => {
  const burst = (replicas: number): number => {
    let count = 0;
    for (let nextAtMs: number | undefined; ; count += 1) {
      const verdict = askRequest(situation({ requestsPerSecond: 12 }, { replicas }), nextAtMs);
      if (verdict.kind === 'out') return count;
      nextAtMs = verdict.nextAtMs;
    }
  };
  expect([1, 2, 3, 4].map((replicas) => replicas * burst(replicas))).toEqual([120, 120, 120, 120]);
});

test('what waits, what is stored and what is too large are refused by name, without using up the rate', () => {
  const full = situation({ queuedRuns: 5 }, { use: { queuedRuns: 5, storageBytes: 0 } });
  expect(askEvents(full, undefined, one)).toMatchObject({ quota: 'queuedRuns', retryAfterSeconds: 5 });
  const stored = situation({ storageBytes: 100 }, { use: { queuedRuns: 0, storageBytes: 101 } });
  expect(askEvents(stored, undefined, one)).toMatchObject({ quota: 'storageBytes', retryAfterSeconds: 5 });
  const large = askEvents(situation({ payloadBytes: 9 }), undefined, one);
  expect(large).toEqual({ kind: 'out', quota: 'payloadBytes' });
  expect(askEvents(situation({ payloadBytes: 10 }), undefined, one).kind).toBe('in');
  // Requests that emit nothing go on.
  expect(askRequest(full, undefined).kind).toBe('in');
});

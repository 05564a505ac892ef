import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { alone, createShares, nextBound, shared } from './load-bound.js';
import type { LoadShare } from './load-bound.js';

interface Now {
  active: number;
  latenessMs: number;
  isShared: boolean;
}

function after(ticks: number, bound: number, now: (bound: number) => Now) {
  for (let tick = 0; tick < ticks; tick += 1) bound = nextBound(bound, now(bound));
  return bound;
}

const regimes = fc.constantFrom({ isShared: false, ...alone }, { isShared: true, ...shared });

test('a loop that keeps up gets whatever there is, within three seconds', () => {
  fc.assert(
    fc.property(fc.integer({ min: 64, max: 2_000 }), regimes, (demand, { isShared, boundMin }) => {
      const bound = after(30, boundMin, (now) => ({
        ...{ active: Math.min(demand, now), latenessMs: 1, isShared },
      }));
      expect(bound).toBeGreaterThanOrEqual(demand);
    }),
  );
});

test('one that is late has less and less as what it has ends, but never nothing', () => {
  fc.assert(
    fc.property(fc.integer({ min: 64, max: 2_000 }), regimes, (bound, { isShared, boundMin, lateMs }) => {
      const late = { latenessMs: 2 * lateMs, isShared };
      expect(after(30, bound, (now) => ({ ...late, active: now }))).toBe(boundMin);
      // As long as nothing ends, it does not fall below what could be taken in its place.
      expect(after(30, bound, () => ({ ...late, active: bound }))).toBe(Math.max(boundMin, 0.8 * bound));
      const veryLate = { latenessMs: 10 * lateMs, isShared };
      expect(after(30, bound, () => ({ ...veryLate, active: bound }))).toBe(Math.max(boundMin, 0.5 * bound));
    }),
  );
});

test('a bound that is used in part stays, and what is left of an old load is given up', () => {
  fc.assert(
    fc.property(regimes, ({ isShared, boundIdle }) => {
      expect(nextBound(500, { active: 300, latenessMs: 1, isShared })).toBe(500);
      expect(after(600, 500, () => ({ active: 10, latenessMs: 1, isShared }))).toBe(boundIdle);
    }),
  );
});

test('it is shared as long as two have had something within five seconds', () => {
  const { shares, consumers } = consumersOf([1, 1]);
  const [first, second] = consumers as [(typeof consumers)[0], (typeof consumers)[0]];
  const sharedNow = (): boolean => {
    let isSharedNow = false;
    shares.adjust((bound, usage) => {
      isSharedNow = usage.isShared;
      return bound;
    });
    return isSharedNow;
  };
  first.take();
  expect(sharedNow()).toBe(false);
  second.take();
  expect(sharedNow()).toBe(true);
  second.share.ended();
  expect(Array.from({ length: 50 }, sharedNow)).not.toContain(false);
  expect(sharedNow()).toBe(false);
});

/** Consumers that take whatever they may, of as much as they have. */
function consumersOf(waiting: number[]) {
  const shares = createShares(64);
  const consumers = waiting.map((count) => {
    const consumer = { waiting: count, active: 0, share: undefined as unknown as LoadShare, take: () => {} };
    consumer.take = () => {
      for (let room = Math.min(consumer.share.room(), consumer.waiting); room > 0; room -= 1) {
        consumer.waiting -= 1;
        consumer.active += 1;
        consumer.share.began();
      }
    };
    consumer.share = shares.join(() => consumer.take());
    return consumer;
  });
  const end = (consumer: (typeof consumers)[number]): void => {
    consumer.active -= 1;
    consumer.share.ended();
    consumer.take();
  };
  return { shares, consumers, end };
}

test('one alone has all of it; who comes beside it has something at once, and as much when some have ended', () => {
  const { consumers, end } = consumersOf([10_000, 10_000]);
  const [flood, neighbour] = consumers as [(typeof consumers)[0], (typeof consumers)[0]];
  flood.take();
  expect(flood.active).toBe(64);
  neighbour.take();
  expect(neighbour.active).toBeGreaterThan(0);
  for (let ended = 0; ended < 500; ended += 1) end(ended % 2 === 0 ? flood : neighbour);
  expect(Math.abs(flood.active - neighbour.active)).toBeLessThanOrEqual(2);
  expect(flood.active + neighbour.active).toBeLessThanOrEqual(66);
});

test('of any load: nobody who has something is left with nothing, and all of it ends', () => {
  const load = fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(load, fc.infiniteStream(fc.nat()), (waiting, choices) => {
      const { consumers, end } = consumersOf(waiting);
      for (const consumer of consumers) consumer.take();
      for (;;) {
        // Expected once a round: an expectation takes longer than all of the round.
        expect(consumers.filter(({ waiting, active }) => waiting > 0 && active === 0)).toEqual([]);
        const active = consumers.filter((consumer) => consumer.active > 0);
        if (active.length === 0) break;
        end(active[(choices.next().value as number) % active.length]!);
      }
      expect(consumers.every((consumer) => consumer.waiting === 0)).toBe(true);
    }),
    { numRuns: 30 },
  );
});

test('who had no room is told when the bound is raised', () => {
  const { shares, consumers } = consumersOf([64, 1]);
  const [first, second] = consumers as [(typeof consumers)[0], (typeof consumers)[0]];
  for (let taken = 0; taken < 100; taken += 1) second.share.began();
  first.take();
  second.take();
  expect([first.active > 0, second.active]).toEqual([true, 0]);
  shares.adjust((bound) => 4 * bound);
  expect(second.active).toBe(1);
});

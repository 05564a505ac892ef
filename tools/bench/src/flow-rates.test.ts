import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { fillBucket, fullestPeriod, judgeRate, mostWithin } from './flow-rates.js';

/** A drop each 100 ms, two at once. */
const rule = { limit: 10, periodMs: 1_000, burst: 2 };
const decisions = (...all: [atMs: number, isLetIn: boolean][]) =>
  all.map(([receivedAtMs, isLetIn], n) => ({ eventId: `e${n}`, key: 'k', receivedAtMs, isLetIn }));

test('what goes by the rule differs in nothing, and the last millisecond counts', () => {
  const right = decisions(
    [0, true],
    [0, true],
    [99, false],
    [100, true],
    [5_000, true],
    [5_000, true],
    [5_000, false],
  );
  expect(judgeRate(right, rule)).toEqual({
    ...{ letIn: 5, skipped: 2, differing: 0, differingByTime: 0, mostInPeriod: 3 },
  });
});

test('one skipped that had room, and one let in that had none, are found', () => {
  expect(judgeRate(decisions([0, true], [5_000, false]), rule)).toMatchObject({ differing: 1 });
  expect(judgeRate(decisions([0, true], [0, true], [0, true]), rule)).toMatchObject({ differing: 1 });
});

test('what is decided after a later one is judged as it was decided, and differs in the order of the times alone', () => {
  const swapped = decisions([0, true], [0, true], [101, true], [100, false]);
  expect(judgeRate(swapped, rule)).toMatchObject({ differing: 0, differingByTime: 2 });
});

test('keys have a bucket each', () => {
  const both = decisions([0, true], [0, true]).flatMap((decision) => [
    decision,
    { ...decision, key: 'other' },
  ]);
  expect(judgeRate(both, rule)).toMatchObject({ letIn: 4, differing: 0, mostInPeriod: 2 });
});

const anyRule = fc.record({
  limit: fc.integer({ min: 1, max: 20 }),
  dropMs: fc.integer({ min: 1, max: 500 }),
  burst: fc.integer({ min: 1, max: 10 }),
});
const anyTimes = fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 150 });

test('in whatever order times come, the bucket holds what the definition says', () => {
  fc.assert(
    fc.property(anyRule, anyTimes, ({ limit, dropMs, burst }, times) => {
      const answers = fillBucket(times, { limit, periodMs: limit * dropMs, burst });
      const letIn: number[] = [];
      for (const [index, atMs] of times.entries()) {
        // Each that was let in keeps the bucket from being empty for a drop, and for one more for each after it.
        const emptyAtMs = letIn.map((earlierMs, n) => earlierMs + (letIn.length - n) * dropMs);
        const isLetIn = emptyAtMs.every((untilMs) => untilMs - atMs <= (burst - 1) * dropMs);
        expect(answers[index]).toBe(isLetIn);
        if (isLetIn) letIn.push(atMs);
      }
    }),
  );
});

test('in whatever order times come, no period has more than limit + burst - 1', () => {
  fc.assert(
    fc.property(anyRule, anyTimes, ({ limit, dropMs, burst }, times) => {
      const answers = fillBucket(times, { limit, periodMs: limit * dropMs, burst });
      const letIn = times.filter((_, index) => answers[index]);
      expect(mostWithin(letIn, limit * dropMs)).toBeLessThan(limit + burst);
    }),
  );
});

test('the end of a period is not counted', () => {
  expect(mostWithin([1_000, 0, 999], 1_000)).toBe(2);
  expect(fullestPeriod([5_000, 1_000, 0, 999, 1_200], 1_000)).toEqual([999, 1_000, 1_200]);
});

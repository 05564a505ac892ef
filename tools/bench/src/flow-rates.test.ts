import { expect, test } from '@jest/globals';
import { judgeRate, mostWithin, overtaken } from './flow-rates.js';

/** A drop each 100 ms, two at once. */
const rule = { limit: 10, periodMs: 1_000, burst: 2 };
const events = (...all: [atMs: number, isLetIn: boolean][]) =>
  all.map(([atMs, isLetIn]) => ({ key: 'k', receivedUs: atMs * 1_000, isLetIn }));

test('what goes by the rule differs in nothing, and the last microsecond counts', () => {
  const right = events(
    [0, true],
    [0, true],
    [99, false],
    [100, true],
    [5_000, true],
    [5_000, true],
    [5_000, false],
  );
  expect(judgeRate(right, rule)).toEqual({
    ...{ letIn: 5, skipped: 2, oracleLetIn: 5, differing: 0, mostInPeriod: 3, unduly: 0 },
  });
});

test('one skipped that had room, and one let in that had none, are found', () => {
  expect(judgeRate(events([0, true], [5_000, false]), rule)).toMatchObject({ differing: 1, unduly: 1 });
  expect(judgeRate(events([0, true], [0, true], [0, true]), rule)).toMatchObject({ differing: 1, letIn: 3 });
});

test('one skipped since a later one was decided before it differs, and is not unduly', () => {
  const swapped = events([0, true], [0, true], [100, false], [101, true]);
  expect(judgeRate(swapped, rule)).toMatchObject({ differing: 2, unduly: 0 });
});

test('keys have a bucket each', () => {
  const both = events([0, true], [0, true]).flatMap((event) => [event, { ...event, key: 'other' }]);
  expect(judgeRate(both, rule)).toMatchObject({ letIn: 4, differing: 0, mostInPeriod: 2 });
});

test('the end of a period is not counted', () => {
  expect(mostWithin([1_000, 0, 999], 1_000)).toBe(2);
});

test('beginnings out of order are counted, and by how much they are late', () => {
  expect(overtaken([1, 2, 9, 4, 5])).toEqual({ count: 1, mostMs: 5 });
  expect(overtaken([1, 2, 2, 3])).toEqual({ count: 0, mostMs: 0 });
});

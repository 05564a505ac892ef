import { expect, test } from '@jest/globals';
import { findOverlaps, worksOf } from './flow-overlaps.js';
import type { LedgerLine } from './ledger.js';

const line = (what: LedgerLine['what'], run: string, atMs: number, pid = 1): LedgerLine => ({
  ...{ what, run, atMs, pid, step: 's', attempt: 1, key: 'k' },
});
const kills = [{ what: 'worker 0', pid: 2, atMs: 40 }];

test('work is over when it ended, was stopped, or its process was killed', () => {
  const works = worksOf(
    [
      line('begun', 'a', 10),
      line('ended', 'a', 20),
      line('begun', 'b', 11),
      line('stopped', 'b', 21),
      line('begun', 'c', 12, 2),
      line('begun', 'd', 13),
    ],
    kills,
  );
  expect(works.map(({ run, untilMs }) => [run, untilMs])).toEqual([
    ['a', 20],
    ['b', 21],
    ['c', 40],
    ['d', Infinity],
  ]);
});

test('what ends as another begins is no overlap, and beyond the limit there is one with what was killed before', () => {
  const work = (run: string, fromMs: number, untilMs: number) => ({ run, key: 'k', fromMs, untilMs });
  const works = [work('a', 0, 10), work('b', 10, 50), work('b', 42, 60), work('c', 60, 60)];
  expect(findOverlaps(works, kills, 1)).toEqual({
    works: 4,
    neverEnded: 0,
    keysByMost: { 2: 1 },
    overlaps: [{ key: 'k', fromMs: 42, forMs: 8, most: 2, twice: 1, after: 'worker 0, 2 ms before' }],
  });
  expect(findOverlaps(works, kills, 2).overlaps).toEqual([]);
});

import { expect, test } from '@jest/globals';
import { attemptKey, earliest, examine, stepKey } from './ledger.js';
import type { LedgerLine } from './ledger.js';

const begun = (atMs: number, over: Partial<LedgerLine> = {}): LedgerLine => ({
  what: 'begun',
  run: 'r',
  step: 's',
  attempt: 1,
  atMs,
  ...over,
});
const stored = (atMs: number, step = 's') => new Map([[stepKey('r', step), atMs]]);

test('a step begun again while nothing was stored is a repeat and no violation', () => {
  expect(examine([begun(1), begun(5)], stored(6))).toEqual({ begun: 2, violations: [], repeats: 1 });
});

test('a step begun after its result was stored is a violation, wherever the lines stand and whatever its attempt', () => {
  const late = [begun(9), begun(7, { attempt: 2 })];
  expect(examine([...late, begun(1)], stored(6)).violations).toEqual(late);
});

test('an attempt that begins after its failure was stored is a violation, and the next attempt is none', () => {
  const failed = new Map([[attemptKey('r', 's', 1), 6]]);
  const again = begun(9);
  expect(examine([begun(1), again, begun(9, { attempt: 2 })], failed).violations).toEqual([again]);
});

test('a step of which nothing is stored cannot have begun too late', () => {
  expect(examine([begun(9)], stored(6, 'other')).violations).toEqual([]);
});

test('another attempt is no repeat, and a firing no beginning', () => {
  const lines = [begun(1), begun(2, { attempt: 2 }), begun(3, { what: 'fired' })];
  expect(examine(lines, new Map())).toEqual({ begun: 2, violations: [], repeats: 0 });
});

test('of several sources the earliest time counts', () => {
  expect(earliest(stored(6), stored(4), stored(8, 'other'))).toEqual(
    new Map([...stored(4), ...stored(8, 'other')]),
  );
});

import { expect, test } from '@jest/globals';
import { checkFirings } from './firings.js';
import type { LedgerLine } from './ledger.js';

const second = (n: number): number => Date.parse('2030-01-01T00:00:00Z') + n * 1_000;
const fired = (n: number, run = `run ${n}`): LedgerLine => ({
  what: 'fired',
  run,
  step: new Date(second(n)).toISOString(),
  attempt: 1,
  atMs: second(n) + 20,
});
const between = { fromMs: second(0), nowMs: second(6) };

test('a schedule that fired each second, once, has nothing wrong', () => {
  const lines = [1, 2, 3, 4, 5].map((n) => fired(n));
  expect(checkFirings(lines, between)).toEqual({ fired: 5, failures: [] });
  // The same run's step again is no second firing.
  expect(checkFirings([...lines, fired(3)], between).failures).toEqual([]);
});

test.each([
  ['nothing at all', [], 'nothing fired'],
  ['a time left out', [1, 2, 4, 5].map((n) => fired(n)), '1 times did not fire'],
  ['a time twice', [...[1, 2, 3, 4, 5].map((n) => fired(n)), fired(3, 'other')], '1 times fired twice'],
  ['an end after the first', [fired(1)], 'nothing fired for the last 5000 ms'],
  ['a late begin', [fired(5), fired(6)], 'the first firing came 5000 ms late'],
])('%s is found', (_, lines, failure) => {
  expect(checkFirings(lines, between).failures).toEqual([expect.stringContaining(failure)]);
});

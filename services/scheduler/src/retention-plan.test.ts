import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { planRetention } from './retention-plan.js';

const day = 86_400_000;
const nowMs = Date.UTC(2031, 5, 15);
const planOf = (days: number | undefined, own: Record<string, number | undefined>) =>
  planRetention({
    nowMs,
    days,
    environments: Object.entries(own).map(([environmentId, age]) => ({ environmentId, days: age })),
  });

test('without an age everything is kept', () => {
  const plan = planOf(undefined, { a: undefined });
  expect(plan.monthsBeforeMs).toBeUndefined();
  expect([...plan.rowsBeforeMs]).toEqual([]);
});

test('an environment’s own age removes its rows, whatever the installation keeps', () => {
  expect([...planOf(undefined, { a: 7, b: undefined }).rowsBeforeMs]).toEqual([['a', nowMs - 7 * day]]);
  expect(planOf(90, { a: 7, b: 365 }).rowsBeforeMs.get('a')).toBe(nowMs - 7 * day);
  expect(planOf(90, { a: 7, b: 365 }).rowsBeforeMs.get('b')).toBe(nowMs - 365 * day);
});

test('rows of all others go a month after their month was due', () => {
  expect(planOf(90, { a: undefined }).rowsBeforeMs.get('a')).toBe(nowMs - 121 * day);
});

test('whoever keeps things longer keeps the months that have them', () => {
  const plan = planOf(30, { short: 7, same: 30, long: 365, none: undefined });
  const endMs = nowMs - 31 * day;
  expect(plan.monthsBeforeMs).toBe(nowMs - 30 * day);
  expect(plan.keepersOf({ endMs })).toEqual(['long']);
  expect(plan.keepersOf({ endMs: nowMs - 366 * day })).toEqual([]);
});

test('nothing that an environment keeps is in a month without it as a keeper', () => {
  const age = fc.option(fc.integer({ min: 2, max: 1_000 }), { nil: undefined });
  fc.assert(
    fc.property(age, age, fc.integer({ min: 0, max: 1_500 }), (days, own, monthAge) => {
      const plan = planOf(days, { a: own });
      const month = { endMs: nowMs - monthAge * day };
      const isDue = plan.monthsBeforeMs !== undefined && month.endMs <= plan.monthsBeforeMs;
      if (!isDue || plan.keepersOf(month).includes('a')) return;
      expect(monthAge).toBeGreaterThanOrEqual(own ?? days!);
    }),
  );
});

import { describe, expect, test } from '@jest/globals';
import type { CronTrigger } from '@ironflow/schema';
import { functionConfig } from '../test/platform.js';
import { planSchedules, schedulesOf } from './schedule-registration.js';
import type { ScheduleState, WantedSchedule } from './schedule-registration.js';

const carried = {
  pausedAt: '2030-01-01 00:00:00+00',
  resumedAt: null,
  lastScheduledAt: null,
  lastFiredAt: null,
  givenUp: 3,
  lastGivenUpAt: null,
};

function wanted(cron: string, options: Partial<CronTrigger> = {}): WantedSchedule {
  return { functionId: 'job', trigger: { cron, timezone: 'UTC', ...options } };
}
const state = (cron: string, options: Partial<CronTrigger> = {}): ScheduleState => ({
  ...wanted(cron, options),
  carried,
});

test('a cron trigger given twice is one schedule; event triggers are none', () => {
  const cron = { cron: '0 * * * *', timezone: 'UTC' };
  const berlin = { ...cron, timezone: 'Europe/Berlin' };
  const config = functionConfig('ship', [cron, { event: 'a' }, { ...cron }, berlin]);
  expect(schedulesOf(config)).toEqual([
    { functionId: 'ship', trigger: cron },
    { functionId: 'ship', trigger: berlin },
  ]);
});

describe('a schedule', () => {
  test('of the same times and options is left alone', () => {
    const plan = planSchedules([state('0 1 * * *', { jitterMs: 5 })], [wanted('0 1 * * *', { jitterMs: 5 })]);
    expect(plan).toEqual({ removed: [], updated: [], added: [] });
  });

  test.each<[string, Partial<CronTrigger>]>([
    ['jitter', { jitterMs: 5 }],
    ['overlap', { overlap: 'skip' }],
    ['window', { catchUpMs: 20_000 }],
    ['id', { id: 'nightly' }],
  ])('of the same times with another %s is not a new one', (_what, options) => {
    const plan = planSchedules([state('0 1 * * *')], [wanted('0 1 * * *', options)]);
    expect(plan).toEqual({ removed: [], updated: [wanted('0 1 * * *', options)], added: [] });
  });

  test('of other times is a new one', () => {
    const plan = planSchedules([state('0 1 * * *')], [wanted('0 2 * * *')]);
    expect(plan).toEqual({ removed: [state('0 1 * * *')], updated: [], added: [wanted('0 2 * * *')] });
  });

  test('of other times under its id takes its state along', () => {
    const before = state('0 1 * * *', { id: 'nightly' });
    const after = wanted('0 2 * * *', { id: 'nightly' });
    expect(planSchedules([before], [after])).toEqual({
      removed: [before],
      updated: [],
      added: [{ ...after, carried }],
    });
  });

  test('goes by its id when two exchange their times', () => {
    const [a, b] = [state('0 1 * * *', { id: 'a' }), state('0 2 * * *', { id: 'b' })];
    const plan = planSchedules([a, b], [wanted('0 2 * * *', { id: 'a' }), wanted('0 1 * * *', { id: 'b' })]);
    expect(plan.removed).toEqual([a, b]);
    expect(plan.added.map(({ trigger }) => trigger.id)).toEqual(['a', 'b']);
  });

  test('of another function is another', () => {
    const other = { ...wanted('0 1 * * *'), functionId: 'other' };
    expect(planSchedules([state('0 1 * * *')], [other])).toMatchObject({
      removed: [{ functionId: 'job' }],
      added: [{ functionId: 'other' }],
    });
  });
});

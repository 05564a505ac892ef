import { expect, test } from '@jest/globals';
import type { CronTrigger } from '@ironflow/schema';
import { slotsOf } from './flow-keys.js';
import { overlapOf, triggerOfFiring } from './schedule-overlap.js';

const nightly: CronTrigger = { cron: '0 3 * * *', timezone: 'UTC', id: 'nightly', overlap: 'skip' };
const often: CronTrigger = { cron: '* * * * *', timezone: 'UTC' };
const report = { id: 'report', triggers: [{ event: 'asked' }, nightly, often] };

function firing({ cron, timezone }: CronTrigger, functionId = 'report') {
  const data = JSON.stringify({ cron, timezone, scheduledAt: '2030-01-01T03:00:00.000Z' });
  return { name: `ironflow.cron.${functionId}`, data };
}

test('an overlap is a singleton under the schedule’s id; without one runs do not know of one another', () => {
  expect(overlapOf('report', nightly)).toEqual({ mode: 'skip', key: 'report.nightly' });
  expect(overlapOf('report', { ...nightly, id: undefined, overlap: 'queue' })?.key).toMatch(
    /^report\.[0-9a-f]{8}$/,
  );
  expect(overlapOf('report', { ...nightly, overlap: 'allow' })).toBeUndefined();
  expect(overlapOf('report', often)).toBeUndefined();
});

test('the event of a time finds its trigger, of its own function only', () => {
  expect(triggerOfFiring(firing(nightly), report)).toBe(nightly);
  expect(triggerOfFiring(firing(often), report)).toBe(often);
  expect(triggerOfFiring(firing({ ...often, cron: '5 * * * *' }), report)).toBeUndefined();
  expect(triggerOfFiring(firing(nightly, 'other'), report)).toBeUndefined();
  expect(triggerOfFiring({ name: 'asked', data: 'null' }, report)).toBeUndefined();
});

test('where no schedule has an overlap, data is not even read', () => {
  const event = { name: 'ironflow.cron.report', data: 'no JSON' };
  expect(triggerOfFiring(event, { ...report, triggers: [often] })).toBeUndefined();
});

test.each(['skip', 'queue', 'cancel'] as const)(
  'a run takes the one slot of its singleton: mode %s',
  (mode) => {
    const slot = { slot: 'singleton:report:k', limit: 1, isKept: true };
    expect(slotsOf('report', { singleton: 'k' }, { singleton: { mode } })).toEqual([slot]);
    expect(slotsOf('report', { singleton: 'k', overlap: mode }, {})).toEqual([slot]);
    expect(slotsOf('report', { singleton: 'k' }, {})).toEqual([]);
  },
);

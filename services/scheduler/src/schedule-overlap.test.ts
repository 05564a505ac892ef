import { expect, test } from '@jest/globals';
import type { CronTrigger, FiringCause } from '@ironflow/schema';
import { slotsOf } from './flow-keys.js';
import { overlapOf } from './schedule-overlap.js';

const nightly: CronTrigger = { cron: '0 3 * * *', timezone: 'UTC', id: 'nightly', overlap: 'skip' };
const often: CronTrigger = { cron: '* * * * *', timezone: 'UTC' };
const report = { id: 'report', triggers: [{ event: 'asked' }, nightly, often] };

function firing({ cron, timezone }: CronTrigger, given: { functionId?: string; cause?: FiringCause } = {}) {
  const { functionId = 'report', cause } = given;
  const data = JSON.stringify({ cron, timezone, scheduledAt: '2030-01-01T03:00:00.000Z', cause });
  return { name: `ironflow.cron.${functionId}`, data };
}

test('an overlap is a singleton under the schedule’s id; without one runs do not know of one another', () => {
  expect(overlapOf(firing(nightly), report)).toEqual({ mode: 'skip', key: 'report.nightly' });
  const unnamed: CronTrigger = { ...nightly, id: undefined, overlap: 'queue' };
  expect(overlapOf(firing(unnamed), { ...report, triggers: [unnamed] })?.key).toMatch(
    /^report\.[0-9a-f]{8}$/,
  );
  expect(overlapOf(firing(often), report)).toBeUndefined();
  const allowed = { ...often, overlap: 'allow' } as const;
  expect(overlapOf(firing(often), { ...report, triggers: [nightly, allowed] })).toBeUndefined();
});

test('it is of its own function’s schedules only, as they are now', () => {
  expect(overlapOf(firing({ ...nightly, cron: '5 3 * * *' }), report)).toBeUndefined();
  expect(overlapOf(firing(nightly, { functionId: 'other' }), report)).toBeUndefined();
  expect(overlapOf({ name: 'asked', data: 'null' }, report)).toBeUndefined();
});

test.each(['skip', 'cancel', 'queue'] as const)(
  'times of a backfill wait for one another, those of %s as well; one by hand is as any',
  (overlap) => {
    const trigger: CronTrigger = { ...nightly, overlap };
    const modeOf = (cause: FiringCause) =>
      overlapOf(firing(trigger, { cause }), { ...report, triggers: [trigger] })?.mode;
    expect([modeOf('time'), modeOf('manual'), modeOf('backfill')]).toEqual([overlap, overlap, 'queue']);
  },
);

test('where no schedule has an overlap, data is not even read', () => {
  const event = { name: 'ironflow.cron.report', data: 'no JSON' };
  expect(overlapOf(event, { ...report, triggers: [often] })).toBeUndefined();
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

import { expect, test } from '@jest/globals';
import { idTimeMs } from '@ironflow/schema';
import fc from 'fast-check';
import { firingData, firingEventId, jitterOf } from './firing.js';
import type { ScheduleOfFunction } from './firing.js';

const schedule: ScheduleOfFunction = {
  environmentId: '0190a000-0000-7000-8000-000000000001',
  functionId: 'report',
  trigger: { cron: '0 0 * * *', timezone: 'UTC' },
};
const atMs = Date.UTC(2030, 0, 1);

test('the event of a firing differs by environment, function, expression, timezone and time, and by nothing else', () => {
  const { trigger } = schedule;
  const ids = [
    firingEventId(schedule, atMs),
    firingEventId({ ...schedule, environmentId: '0190a000-0000-7000-8000-000000000002' }, atMs),
    firingEventId({ ...schedule, functionId: 'other' }, atMs),
    firingEventId({ ...schedule, trigger: { ...trigger, cron: '0 1 * * *' } }, atMs),
    firingEventId({ ...schedule, trigger: { ...trigger, timezone: 'Asia/Tokyo' } }, atMs),
    firingEventId(schedule, atMs + 60_000),
  ];
  expect(new Set(ids).size).toBe(ids.length);
  const options = { id: 'nightly', jitterMs: 5_000, overlap: 'skip', catchUpMs: 20_000 } as const;
  expect(firingEventId({ ...schedule, trigger: { ...trigger, ...options } }, atMs)).toBe(ids[0]);
  expect(idTimeMs(ids[0]!)).toBe(atMs);
});

test('jitter is the same wherever it is worked out, and from 0 to less than its bound', () => {
  const bounds = fc.integer({ min: 1, max: 3_600_000 });
  const times = fc.integer({ min: 0, max: 4_000_000_000_000 });
  fc.assert(
    fc.property(bounds, times, (jitterMs, timeMs) => {
      const jittered = { ...schedule, trigger: { ...schedule.trigger, jitterMs } };
      const delayMs = jitterOf(jittered, timeMs);
      expect(delayMs).toBeGreaterThanOrEqual(0);
      expect(delayMs).toBeLessThan(jitterMs);
      expect(jitterOf({ ...jittered }, timeMs)).toBe(delayMs);
    }),
  );
});

test('jitter spreads the times of one schedule, and schedules of the same time', () => {
  const jitterMs = 60_000;
  const delays = Array.from({ length: 200 }, (_, index) => {
    const functionId = `report-${index % 10}`;
    const trigger = { ...schedule.trigger, jitterMs };
    return jitterOf({ ...schedule, functionId, trigger }, atMs + Math.floor(index / 10) * 86_400_000);
  });
  for (let quarter = 0; quarter < 4; quarter += 1) {
    const within = delays.filter((delay) => Math.floor(delay / (jitterMs / 4)) === quarter);
    expect(within.length).toBeGreaterThan(25);
  }
});

test('without jitter a time is not put off', () => {
  expect(jitterOf(schedule, atMs)).toBe(0);
});

test('the data names the schedule and the time itself', () => {
  expect(firingData(schedule, { scheduledAtMs: atMs, cause: 'backfill' })).toEqual({
    cron: '0 0 * * *',
    timezone: 'UTC',
    scheduledAt: '2030-01-01T00:00:00.000Z',
    schedule: 'report.2167aacf',
    cause: 'backfill',
  });
});

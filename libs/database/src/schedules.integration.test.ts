import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { scheduleIdOf } from '@ironflow/schema';
import type { CronTrigger } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, functionConfig, manifest } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createCronStore, createScheduleStore, registerApp } from './index.js';
import type { CronStore, Schedule, ScheduleStore } from './index.js';

let platform: Platform;
let cron: CronStore;
let schedules: ScheduleStore;
let ours: string;
let theirs: string;

beforeAll(async () => {
  platform = await createPlatform();
  cron = createCronStore(platform.service);
  schedules = createScheduleStore(platform.tenant);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});
beforeEach(() => platform.admin.query('truncate schedules, functions, apps'));
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const nightly: CronTrigger = { cron: '0 3 * * *', timezone: 'UTC', id: 'nightly' };
const register = (environmentId: string, ...triggers: CronTrigger[]) =>
  registerApp(platform.tenant, environmentId, manifest({ functions: [functionConfig('job', triggers)] }));
const only = async (): Promise<Schedule> => {
  const all = await cron.schedules();
  expect(all).toHaveLength(1);
  return all[0]!;
};
/** As if all that has happened so far had happened an hour before. */
const anHourLater = () =>
  platform.admin.query(`update schedules set registered_at = registered_at - interval '1 hour',
    paused_at = paused_at - interval '1 hour', resumed_at = resumed_at - interval '1 hour',
    settled_until = settled_until - interval '1 hour'`);
const dueNow = async (schedule: Schedule) => {
  const nowMs = await cron.now();
  return { schedule, scheduledAtMs: nowMs, dueAtMs: nowMs };
};

test('the ids that Postgres makes are those of the schema', async () => {
  const triggers: CronTrigger[] = [
    nightly,
    { cron: '*/5 * * * *', timezone: 'Europe/Berlin' },
    { cron: '@every 1h', timezone: 'UTC' },
  ];
  await register(ours, ...triggers);
  const ids = (await schedules.list(ours, { limit: 10 })).map(({ id }) => id);
  expect(ids).toEqual(triggers.map((trigger) => scheduleIdOf('job', trigger)).sort());
});

test('a row of the version before, which knows of no ids, has one', async () => {
  await register(ours);
  await platform.admin.query(
    `insert into schedules (environment_id, function_id, cron, timezone) values ($1, 'job', '* * * * *', 'UTC')`,
    [ours],
  );
  const [found] = await schedules.list(ours, { limit: 10 });
  expect(found).toMatchObject({ id: scheduleIdOf('job', found!.trigger), givenUp: { count: 0 } });
});

test('options come back as they were given, in pages, and nobody else sees them', async () => {
  const full: CronTrigger = { ...nightly, jitterMs: 5_000, overlap: 'skip', catchUpMs: 86_400_000 };
  await register(ours, full, { cron: '* * * * *', timezone: 'UTC', id: 'often' });
  await register(theirs, nightly);
  const page = await schedules.list(ours, { limit: 1 });
  expect(page).toHaveLength(2);
  expect(page[0]).toMatchObject({ id: 'job.nightly', functionId: 'job', trigger: full });
  expect(await schedules.list(ours, { limit: 1, after: 'job.nightly' })).toMatchObject([{ id: 'job.often' }]);
  expect(await schedules.list(ours, { limit: 1, functionId: 'other' })).toEqual([]);
  expect(await schedules.get(theirs, 'job.often')).toBeUndefined();
  expect(await schedules.pause(theirs, 'job.often')).toBeUndefined();
  expect((await schedules.get(ours, 'job.often'))?.pausedAtMs).toBeUndefined();
});

describe('whether a time may be fired', () => {
  test('before it is paused, not after, and again once it is resumed', async () => {
    await register(ours, nightly);
    const schedule = await only();
    const before = await dueNow(schedule);
    expect(await cron.mayFire([before])).toEqual([true]);
    await schedules.pause(ours, 'job.nightly');
    const during = { ...before, dueAtMs: (await cron.now()) + 1 };
    expect(await cron.mayFire([before, during])).toEqual([true, false]);
    await schedules.resume(ours, 'job.nightly');
    const after = await dueNow(schedule);
    expect(await cron.mayFire([before, { ...after, scheduledAtMs: after.scheduledAtMs + 1 }])).toEqual([
      false,
      true,
    ]);
  });

  test('by when it is due: one that is put off past a pause is fired, one that fell into it is not', async () => {
    const jitterMs = 3_600_000;
    await register(ours, { ...nightly, jitterMs });
    await anHourLater();
    await schedules.pause(ours, 'job.nightly');
    await anHourLater();
    const schedule = await only();
    const scheduledAtMs = schedule.pausedAtMs! - 60_000;
    const inPause = { schedule, scheduledAtMs, dueAtMs: schedule.pausedAtMs! + 60_000 };
    expect(await cron.mayFire([inPause])).toEqual([false]);
    await schedules.resume(ours, 'job.nightly');
    const resumed = await only();
    expect(Math.abs(resumed.settledUntilMs - jitterMs - resumed.beginsAtMs)).toBeLessThan(1_000);
    const afterPause = { ...inPause, dueAtMs: (await cron.now()) + 60_000 };
    const unregistered = { ...afterPause, scheduledAtMs: schedule.beginsAtMs - 1 };
    expect(await cron.mayFire([inPause, afterPause, unregistered])).toEqual([false, true, false]);
  });

  test('not before it was registered, nor once it is gone', async () => {
    await register(ours, nightly);
    const schedule = await only();
    const { beginsAtMs } = schedule;
    const at = (scheduledAtMs: number) => ({ schedule, scheduledAtMs, dueAtMs: scheduledAtMs });
    expect(await cron.mayFire([at(beginsAtMs - 1), at(beginsAtMs)])).toEqual([false, true]);
    await register(ours);
    expect(await cron.mayFire([at(beginsAtMs)])).toEqual([false]);
  });

  test('waits for whoever is pausing it', async () => {
    await register(ours, nightly);
    const due = await dueNow(await only());
    const later = { ...due, dueAtMs: due.dueAtMs + 60_000 };
    let asked: Promise<boolean[]> | undefined;
    await platform.service.transaction(async (transaction) => {
      await transaction.query({ name: '', text: 'update schedules set paused_at = clock_timestamp()' }, []);
      asked = cron.mayFire([later]);
      // It is behind the lock now, or will be: either way it sees what commits.
      await platform.service.now();
    });
    expect(await asked).toEqual([false]);
  });
});

test('resuming settles what was paused: it is neither fired nor given up', async () => {
  await register(ours, nightly);
  await schedules.pause(ours, 'job.nightly');
  await anHourLater();
  const paused = await only();
  expect(paused.pausedAtMs).toBeLessThan(await cron.now());
  await schedules.resume(ours, 'job.nightly');
  const resumed = await only();
  expect(resumed.pausedAtMs).toBeUndefined();
  expect(resumed.beginsAtMs).toBeGreaterThan(paused.pausedAtMs! + 3_000_000);
  expect(resumed.settledUntilMs).toBeGreaterThanOrEqual(resumed.beginsAtMs);
});

test('other options do not make it a new one; other times do, and under its id it stays paused', async () => {
  await register(ours, nightly);
  await schedules.pause(ours, 'job.nightly');
  await anHourLater();
  const before = await only();
  await register(ours, { ...nightly, jitterMs: 5, overlap: 'queue' });
  expect(await only()).toEqual({ ...before, trigger: { ...nightly, jitterMs: 5, overlap: 'queue' } });
  await register(ours, { ...nightly, cron: '0 4 * * *' });
  const moved = await only();
  expect(moved.beginsAtMs).toBeGreaterThan(before.beginsAtMs + 3_000_000);
  expect(moved.pausedAtMs).toBe(before.pausedAtMs);
  await register(ours, { cron: '0 5 * * *', timezone: 'UTC' });
  expect((await only()).pausedAtMs).toBeUndefined();
});

describe('what became of times', () => {
  test('is the latest that was fired, and never goes back', async () => {
    await register(ours, nightly);
    const schedule = await only();
    const at = schedule.settledUntilMs;
    await cron.recordFired([{ schedule, scheduledAtMs: at + 2_000, settledUntilMs: at + 2_500 }]);
    await cron.recordFired([{ schedule, scheduledAtMs: at + 1_000, settledUntilMs: at + 1_500 }]);
    expect((await only()).settledUntilMs).toBe(at + 2_500);
    expect(await schedules.get(ours, 'job.nightly')).toMatchObject({
      lastFiring: { scheduledAtMs: at + 2_000 },
    });
  });

  test('is given up once, whoever says so, and not what was fired', async () => {
    await register(ours, nightly);
    const schedule = await only();
    const at = schedule.settledUntilMs;
    const times = [1_000, 2_000, 3_000].map((offset) => ({ schedule, scheduledAtMs: at + offset }));
    await cron.recordFired([{ schedule, scheduledAtMs: at + 1_000, settledUntilMs: at + 1_000 }]);
    const counts = await Promise.all([cron.recordGivenUp(times), cron.recordGivenUp(times)]);
    expect(counts.sort()).toEqual([0, 2]);
    expect((await schedules.get(ours, 'job.nightly'))?.givenUp).toEqual({ count: 2, lastAtMs: at + 3_000 });
  });
});

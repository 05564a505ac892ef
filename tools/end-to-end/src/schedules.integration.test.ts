/** Schedules and events that come later, as their user has them: through the client, to the runs that they start. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { FiringData } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
/** What the functions were given, by their ids. */
const given: Record<string, FiringData[]> = { daily: [], often: [] };
const came: { name: string; atMs: number }[] = [];

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  const noting = (id: 'daily' | 'often', trigger: { cron: string; id?: string; timezone?: string }) =>
    createFunction<unknown, FiringData>({ id, triggers: [trigger] }, async ({ event }) => {
      given[id]!.push(event.data);
    });
  const later = createFunction({ id: 'later', triggers: [{ event: 'later.>' }] }, async ({ event }) => {
    came.push({ name: event.name, atMs: Date.parse(event.receivedAt) });
  });
  const sender = createFunction({ id: 'sender', triggers: [{ event: 'send' }] }, async ({ step }) => {
    const sent = await step.sendEvent('remind', { name: 'later.sent', at: new Date(Date.now() + 1_000) });
    return sent.ids[0];
  });
  await tenant.startWorker('schedules', [
    noting('daily', { cron: '0 12 * * *', timezone: 'Europe/Berlin', id: 'noon' }),
    noting('often', { cron: '* * * * * *', id: 'second' }),
    later,
    sender,
  ]);
}, 60_000);
afterAll(() => world?.stop(), 30_000);

describe('a schedule', () => {
  test('is shown with its next times, and with what became of the last', async () => {
    const daily = await tenant.client.schedules.get('daily.noon');
    expect(daily).toMatchObject({
      functionId: 'daily',
      status: 'active',
      overlap: 'allow',
      catchUpMs: 3_600_000,
    });
    expect(daily.next).toHaveLength(5);
    expect(daily.lastFiring).toBeUndefined();
    const often = await eventually(async () => {
      const schedule = await tenant.client.schedules.get('often.second');
      expect(schedule.lastFiring).toBeDefined();
      return schedule;
    });
    expect(Date.parse(often.lastFiring!.firedAt)).toBeGreaterThanOrEqual(
      Date.parse(often.lastFiring!.scheduledAt),
    );
    const { schedules } = await tenant.client.schedules.list();
    expect(schedules.map(({ id }) => id)).toEqual(['daily.noon', 'often.second']);
    await eventually(() => expect(given['often']!.length).toBeGreaterThan(1));
    expect(given['often']![0]).toMatchObject({ schedule: 'often.second', cause: 'time' });
  });

  test('that is paused fires nothing more, and what was paused is only backfilled', async () => {
    const paused = await tenant.client.schedules.pause('often.second');
    expect(paused).toMatchObject({ status: 'paused', next: [] });
    const again = await tenant.client.schedules.pause('often.second');
    expect(again.pausedAt).toBe(paused.pausedAt);
    const pausedMs = Date.parse(paused.pausedAt!);
    // Time goes by, and the schedule of a second is behind by some of them.
    await eventually(async () => expect(await now()).toBeGreaterThan(pausedMs + 3_000), {
      timeoutMs: 15_000,
    });
    const resumed = await tenant.client.schedules.resume('often.second');
    expect(resumed).toMatchObject({ status: 'active' });
    const resumedMs = await now();
    await eventually(() => expect(latest('often')).toBeGreaterThan(resumedMs + 1_000), { timeoutMs: 15_000 });
    const between = () => timesOf('often').filter((time) => time > pausedMs && time < resumedMs - 1_000);
    expect(between()).toEqual([]);
    const range = { from: iso(pausedMs + 1), to: iso(pausedMs + 2_001) };
    expect(await tenant.client.schedules.backfill('often.second', range, { dryRun: true })).toEqual({
      count: 2,
      skipped: 0,
    });
    expect(await tenant.client.schedules.backfill('often.second', range)).toEqual({ count: 2, skipped: 0 });
    await eventually(() => expect(between()).toHaveLength(2));
    expect(await tenant.client.schedules.backfill('often.second', range)).toEqual({ count: 0, skipped: 2 });
  }, 60_000);

  test('is triggered by hand, also while it is paused, once for each key', async () => {
    await tenant.client.schedules.pause('daily.noon');
    const key = { idempotencyKey: 'by-hand' };
    const first = await tenant.client.schedules.trigger('daily.noon', key);
    expect(await tenant.client.schedules.trigger('daily.noon', key)).toEqual(first);
    await eventually(() =>
      expect(given['daily']).toMatchObject([{ schedule: 'daily.noon', cause: 'manual' }]),
    );
  });

  test('is backfilled page by page, and not into the future', async () => {
    const day = 86_400_000;
    const to = Math.floor((await now()) / day) * day;
    const result = await tenant.client.schedules.backfill('daily.noon', {
      from: iso(to - 120 * day),
      to: iso(to),
    });
    expect(result).toEqual({ count: 120, skipped: 0 });
    await eventually(
      () => expect(given['daily']!.filter(({ cause }) => cause === 'backfill')).toHaveLength(120),
      {
        timeoutMs: 20_000,
      },
    );
    const { schedules } = tenant.client;
    await expect(
      schedules.backfill('daily.noon', { from: iso(to), to: iso(to + 9 * day) }),
    ).rejects.toMatchObject({
      code: 'backfill_range_invalid',
    });
    await expect(
      schedules.backfill('often.second', { from: iso(to - day), to: iso(to) }),
    ).rejects.toMatchObject({
      code: 'backfill_too_large',
    });
    await expect(tenant.client.schedules.get('daily.none')).rejects.toMatchObject({
      code: 'schedule_not_found',
    });
  }, 60_000);
});

describe('an event with a time', () => {
  test('comes then, not before, and soon after', async () => {
    const atMs = (await now()) + 1_500;
    const { ids } = await tenant.client.emit({ name: 'later.one', at: new Date(atMs) });
    expect((await tenant.client.scheduledEvents.list()).events).toMatchObject([
      { id: ids[0], name: 'later.one' },
    ]);
    await expect(tenant.client.events.get(ids[0]!)).rejects.toMatchObject({ code: 'event_not_found' });
    const event = await eventually(() => tenant.client.events.get(ids[0]!), { timeoutMs: 15_000 });
    expect(Date.parse(event.receivedAt)).toBeGreaterThanOrEqual(atMs);
    await eventually(() => expect(came.filter(({ name }) => name === 'later.one')).toHaveLength(1));
    expect((await tenant.client.scheduledEvents.list()).events).toEqual([]);
  });

  test('is cancelled before, and not after', async () => {
    const at = new Date((await now()) + 86_400_000);
    const { ids } = await tenant.client.emit({ name: 'later.never', at });
    expect(await tenant.client.scheduledEvents.cancel(ids[0]!)).toEqual({ id: ids[0] });
    await expect(tenant.client.scheduledEvents.cancel(ids[0]!)).rejects.toMatchObject({
      code: 'scheduled_event_not_found',
    });
  });

  test('is sent by a step', async () => {
    const { runs } = await tenant.client.emit({ name: 'send' }, { wait: '20s' });
    expect(runs).toMatchObject([{ status: 'completed' }]);
    await eventually(() => expect(came.filter(({ name }) => name === 'later.sent')).toHaveLength(1), {
      timeoutMs: 15_000,
    });
  });

  test('comes at once when its time has passed, and is refused beyond a year', async () => {
    await tenant.client.emit({ name: 'later.past', at: '2020-01-01T00:00:00Z' });
    await eventually(() => expect(came.filter(({ name }) => name === 'later.past')).toHaveLength(1));
    const beyond = { name: 'later.far', at: iso((await now()) + 400 * 86_400_000) };
    await expect(tenant.client.emit(beyond)).rejects.toMatchObject({ code: 'invalid_request', field: 'at' });
    const waited = { name: 'later.waited', at: iso((await now()) + 60_000) };
    await expect(tenant.client.emit(waited, { wait: '1s' })).rejects.toMatchObject({ field: 'at' });
  });
});

async function now(): Promise<number> {
  const [row] = await world.query<{ ms: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms',
  );
  return row!.ms;
}

function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

function timesOf(id: string): number[] {
  return given[id]!.map(({ scheduledAt }) => Date.parse(scheduledAt));
}

function latest(id: string): number {
  return Math.max(...timesOf(id));
}

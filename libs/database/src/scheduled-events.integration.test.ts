import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { createId, idTimeMs } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { randomBytes } from 'node:crypto';
import { createPlatform, newEvent } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createApiStore, createIngestStore, createSchedulerStore } from './index.js';
import type { ApiStore, IngestStore, NewEvent, SchedulerStore } from './index.js';
import type { Database, Statement } from './database.js';
import { listScheduledEvents } from './scheduled-events.js';

let platform: Platform;
let ingest: IngestStore;
let api: ApiStore;
let scheduler: SchedulerStore;
let ours: string;

beforeAll(async () => {
  platform = await createPlatform();
  ingest = createIngestStore(platform.tenant);
  api = createApiStore(platform.tenant);
  scheduler = createSchedulerStore(platform.service);
  ours = platform.ours.scope.environmentId;
});
beforeEach(() =>
  platform.admin.query('truncate events, unrouted_events, scheduled_events, idempotency_keys'),
);
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const dayMs = 86_400_000;
async function later(offsetMs = dayMs, changes: Partial<NewEvent> = {}): Promise<NewEvent> {
  const atMs = (await platform.service.now()) + offsetMs;
  return newEvent({ id: createId(atMs, randomBytes(10)), atMs, ...changes });
}
const becomesDue = () => platform.admin.query(`update scheduled_events set due_at = now() - interval '1 ms'`);
const count = async (table: string): Promise<number> => {
  const { rows } = await platform.admin.query<{ count: number }>(`select count(*)::int from ${table}`);
  return rows[0]!.count;
};

test('an event that comes later is no event yet; beside it others are stored as ever', async () => {
  const event = await later();
  const receipts = await ingest.storeEvents(ours, [event, newEvent()]);
  expect(receipts[0]!.dueInMs).toBeGreaterThan(dayMs - 60_000);
  expect(receipts[0]).toMatchObject({ id: event.id, duplicate: false });
  expect(receipts[1]!.dueInMs).toBeUndefined();
  expect([await count('events'), await count('unrouted_events'), await count('scheduled_events')]).toEqual([
    1, 1, 1,
  ]);
  expect(await scheduler.moveDueEvents(10)).toEqual([]);
});

test('one whose time has passed is stored at once', async () => {
  const [receipt] = await ingest.storeEvents(ours, [await later(-1)]);
  expect(receipt!.dueInMs).toBeUndefined();
  expect([await count('events'), await count('scheduled_events')]).toEqual([1, 0]);
});

test('a key holds from the moment it is accepted', async () => {
  const [first] = await ingest.storeEvents(ours, [await later(dayMs, { idempotencyKey: 'k' })]);
  const [again] = await ingest.storeEvents(ours, [await later(2 * dayMs, { idempotencyKey: 'k' })]);
  expect(again).toMatchObject({ id: first!.id, duplicate: true });
  const [now] = await ingest.storeEvents(ours, [newEvent({ idempotencyKey: 'k' })]);
  expect(now).toMatchObject({ id: first!.id, duplicate: true });
  expect([await count('events'), await count('scheduled_events')]).toEqual([0, 1]);
});

test('what is due is stored once, whoever moves it, and is to be routed', async () => {
  const events = await Promise.all(Array.from({ length: 20 }, (_, index) => later(dayMs + index)));
  await ingest.storeEvents(ours, events);
  await becomesDue();
  const moved = await Promise.all([1, 2, 3].map(() => scheduler.moveDueEvents(20)));
  expect(
    moved
      .flat()
      .map(({ id }) => id)
      .sort(),
  ).toEqual(events.map(({ id }) => id).sort());
  expect([await count('events'), await count('unrouted_events'), await count('scheduled_events')]).toEqual([
    20, 20, 0,
  ]);
  const [event] = moved.flat();
  expect(event).toMatchObject({ scope: platform.ours.scope, name: events[0]!.name, data: events[0]!.data });
});

test('the next one is known, and overdue when it is late', async () => {
  expect(await scheduler.nextEventDueInMs()).toBeUndefined();
  await ingest.storeEvents(ours, [await later(3 * dayMs), await later(dayMs)]);
  const inMs = await scheduler.nextEventDueInMs();
  expect(inMs).toBeLessThanOrEqual(dayMs);
  expect(inMs).toBeGreaterThan(dayMs - 60_000);
  await becomesDue();
  expect(await scheduler.nextEventDueInMs()).toBeLessThan(0);
});

test('a page ends at 4 MiB of data, and what is beyond stays in the database', async () => {
  const data = JSON.stringify('x'.repeat(500 * 1024));
  const given = await Promise.all(Array.from({ length: 12 }, () => later(dayMs, { data })));
  const events = given.sort((one, other) => (one.id < other.id ? -1 : 1));
  await ingest.storeEvents(ours, events);
  const read: { data: string | null }[] = [];
  const watched: Database = {
    ...platform.tenant,
    inEnvironment: (environmentId, work) =>
      platform.tenant.inEnvironment(environmentId, (transaction) =>
        work({
          query: async <Row>(statement: Statement, values: readonly unknown[]) => {
            const rows = await transaction.query<Row>(statement, values);
            read.push(...(rows as typeof read));
            return rows;
          },
        }),
      ),
  };
  const page = await listScheduledEvents(watched, ours, { limit: 20 });
  expect(page.events.map(({ id }) => id)).toEqual(events.slice(0, 9).map(({ id }) => id));
  expect(read.map((row) => row.data?.length)).toEqual(
    events.map((_, index) => (index < 9 ? data.length : undefined)),
  );
  const rest = await listScheduledEvents(platform.tenant, ours, { limit: 20, cursor: page.nextCursor! });
  expect(rest.events.map(({ id }) => id)).toEqual(events.slice(9).map(({ id }) => id));
});

test('they are listed by when they come, in pages, and cancelled by their own environment only', async () => {
  const offsets = [3, 1, 2];
  const events = await Promise.all(offsets.map((days) => later(days * dayMs)));
  await ingest.storeEvents(ours, events);
  const first = await api.listScheduledEvents(ours, { limit: 2 });
  expect(first.events.map(({ id }) => id)).toEqual([events[1]!.id, events[2]!.id]);
  expect(Date.parse(first.events[0]!.at)).toBe(idTimeMs(events[1]!.id));
  const { nextCursor } = first;
  const second = await api.listScheduledEvents(ours, { limit: 2, cursor: nextCursor });
  expect(second.events.map(({ id }) => id)).toEqual([events[0]!.id]);
  expect(second.nextCursor).toBeUndefined();
  const theirs = platform.theirs.scope.environmentId;
  expect(await api.listScheduledEvents(theirs, { limit: 2 })).toEqual({ events: [] });
  expect(await api.cancelScheduledEvent(theirs, events[0]!.id)).toBe(false);
  expect(await api.cancelScheduledEvent(ours, events[0]!.id)).toBe(true);
  expect(await api.cancelScheduledEvent(ours, events[0]!.id)).toBe(false);
  await becomesDue();
  expect(await scheduler.moveDueEvents(10)).toHaveLength(2);
});

test('of cancelling and moving one has it', async () => {
  const events = await Promise.all(Array.from({ length: 30 }, () => later()));
  await ingest.storeEvents(ours, events);
  await becomesDue();
  const [moved, ...cancelled] = await Promise.all([
    scheduler.moveDueEvents(30),
    ...events.map(({ id }) => api.cancelScheduledEvent(ours, id)),
  ]);
  const rest = await scheduler.moveDueEvents(30);
  expect(moved.length + rest.length + cancelled.filter(Boolean).length).toBe(30);
  expect(await count('scheduled_events')).toBe(0);
});

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { lowestIdAt } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, newEvent, newRun, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createApiStore,
  createCollectorStore,
  createIngestStore,
  createSchedulerStore,
  isRefusedData,
} from './index.js';
import type { IngestStore } from './index.js';

let platform: Platform;
let ingest: IngestStore;
let ours: string;
let theirs: string;

beforeAll(async () => {
  platform = await createPlatform();
  ingest = createIngestStore(platform.tenant);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

async function storedCount(ids: string[]): Promise<number> {
  const { rowCount } = await platform.admin.query('select 1 from events where id = any($1)', [ids]);
  return rowCount!;
}

test('events are stored as they came, with their order to be routed', async () => {
  const causationId = freshId();
  const event = newEvent({
    version: '2',
    correlationId: 'order-7',
    causationId,
    traceparent: '00-11111111111111111111111111111111-2222222222222222-01',
  });
  const before = await platform.service.now();
  const [receipt] = await ingest.storeEvents(ours, [event]);
  expect(receipt).toMatchObject({ id: event.id, duplicate: false, correlationId: 'order-7' });
  expect(receipt!.receivedAtMs).toBeGreaterThanOrEqual(before);
  expect(receipt!.receivedAtMs).toBeLessThanOrEqual(await platform.service.now());
  const unrouted = await createSchedulerStore(platform.service).unroutedEvents({ olderThanMs: 0, limit: 10 });
  const { idempotencyKey: _none, ...rest } = event;
  expect(unrouted).toEqual([{ ...rest, scope: platform.ours.scope, receivedAtMs: receipt!.receivedAtMs }]);
});

test.each([
  ['a NUL character', '{"a":"\\u0000"}'],
  ['a lone surrogate', '{"a":"\\ud800"}'],
  ['numbers as they were written', '{"a":1.0,"b":12345678901234567890,"a":2}'],
  ['white space', '{ "a" : [ 1 ,2 ] }'],
  ['null', 'null'],
])('data with %s is kept to the letter', async (_what, data) => {
  const event = newEvent({ data });
  await ingest.storeEvents(ours, [event]);
  const { rows } = await platform.admin.query('select data::text from events where id = $1', [event.id]);
  expect(rows).toEqual([{ data }]);
});

test('data that is not JSON is refused as data, and nothing of its batch is stored', async () => {
  const events = [newEvent(), newEvent({ data: '{' })];
  const refusal: unknown = await ingest.storeEvents(ours, events).catch((error: unknown) => error);
  expect(isRefusedData(refusal)).toBe(true);
  expect(await storedCount(events.map(({ id }) => id))).toBe(0);
});

test('without a correlation of its own an event is its own root', async () => {
  const [receipt] = await ingest.storeEvents(ours, [newEvent()]);
  expect(receipt!.correlationId).toBe(receipt!.id);
});

test('the same id again stores nothing and is answered with what was stored', async () => {
  const event = newEvent({ correlationId: 'first' });
  const [first] = await ingest.storeEvents(ours, [event]);
  const again = await ingest.storeEvents(ours, [{ ...event, correlationId: 'second' }, newEvent()]);
  expect(again[0]).toEqual({ ...first, duplicate: true });
  expect(again[1]!.duplicate).toBe(false);
});

test('a key used again is answered with the first event, also within one batch', async () => {
  const idempotencyKey = `key-${freshId()}`;
  const first = newEvent({ idempotencyKey, correlationId: 'first' });
  const second = newEvent({ idempotencyKey, correlationId: 'second' });
  const third = newEvent({ idempotencyKey });
  const batch = await ingest.storeEvents(ours, [first, newEvent(), second]);
  expect(batch.map(({ duplicate }) => duplicate)).toEqual([false, false, true]);
  expect(batch[2]).toMatchObject({ id: first.id, correlationId: 'first' });
  const [later] = await ingest.storeEvents(ours, [third]);
  expect(later).toEqual({ ...batch[0], duplicate: true });
  expect(await storedCount([first.id, second.id, third.id])).toBe(1);
});

test('a key of another event’s name is refused, and nothing of its batch is stored', async () => {
  const idempotencyKey = `key-${freshId()}`;
  const reused = { category: 'conflict', code: 'idempotency_key_reused' };
  const [first] = await ingest.storeEvents(ours, [
    newEvent({ name: 'ironflow.invoke.charge', idempotencyKey }),
  ]);
  const batch = [
    newEvent({ idempotencyKey: `key-${freshId()}` }),
    newEvent({ name: 'ironflow.invoke.ship', idempotencyKey }),
  ];
  await expect(ingest.storeEvents(ours, batch)).rejects.toMatchObject(reused);
  expect(await storedCount(batch.map(({ id }) => id))).toBe(0);
  // The other key of that batch is still free.
  expect(await ingest.storeEvents(ours, batch.slice(0, 1))).toMatchObject([{ duplicate: false }]);
  expect(
    await ingest.storeEvents(ours, [newEvent({ name: 'ironflow.invoke.charge', idempotencyKey })]),
  ).toMatchObject([{ id: first!.id, duplicate: true }]);
  const key = `key-${freshId()}`;
  const together = [
    newEvent({ name: 'a', idempotencyKey: key }),
    newEvent({ name: 'b', idempotencyKey: key }),
  ];
  await expect(ingest.storeEvents(ours, together)).rejects.toMatchObject(reused);
  await platform.admin.query(
    `update idempotency_keys set created_at = now() - interval '25 hours' where key = $1`,
    [idempotencyKey],
  );
  expect(await ingest.storeEvents(ours, [newEvent({ name: 'b', idempotencyKey })])).toMatchObject([
    { duplicate: false },
  ]);
});

test('the same key in another environment is another key', async () => {
  const idempotencyKey = `key-${freshId()}`;
  const receipts = [
    ...(await ingest.storeEvents(ours, [newEvent({ idempotencyKey })])),
    ...(await ingest.storeEvents(theirs, [newEvent({ idempotencyKey })])),
  ];
  expect(receipts.map(({ duplicate }) => duplicate)).toEqual([false, false]);
});

test('a key holds for 24 hours and is then free again, and cleared away', async () => {
  const idempotencyKey = `key-${freshId()}`;
  const age = async (interval: string): Promise<void> => {
    await platform.admin.query(
      'update idempotency_keys set created_at = now() - $2::interval where key = $1',
      [idempotencyKey, interval],
    );
  };
  const [first] = await ingest.storeEvents(ours, [newEvent({ idempotencyKey })]);
  await age('23 hours 59 minutes');
  expect((await ingest.storeEvents(ours, [newEvent({ idempotencyKey })]))[0]).toMatchObject({
    id: first!.id,
  });
  await age('24 hours 1 minute');
  const renewed = newEvent({ idempotencyKey });
  expect((await ingest.storeEvents(ours, [renewed]))[0]).toMatchObject({ id: renewed.id, duplicate: false });
  expect((await ingest.storeEvents(ours, [newEvent({ idempotencyKey })]))[0]).toMatchObject({
    id: renewed.id,
  });
  const scheduler = createSchedulerStore(platform.service);
  expect(await scheduler.removeExpiredKeys(10)).toBe(0);
  await age('25 hours');
  expect(await scheduler.removeExpiredKeys(10)).toBe(1);
});

test('of many batches with the same keys at once, in any order, each key stores one event', async () => {
  const keys = Array.from({ length: 20 }, () => `key-${freshId()}`);
  const batches = Array.from({ length: 12 }, (_, index) => {
    const events = keys.map((idempotencyKey) => newEvent({ idempotencyKey }));
    return index % 2 === 0 ? events : events.reverse();
  });
  const receipts = (await Promise.all(batches.map((batch) => ingest.storeEvents(ours, batch)))).flat();
  expect(receipts.filter(({ duplicate }) => !duplicate)).toHaveLength(keys.length);
  expect(new Set(receipts.map(({ id }) => id)).size).toBe(keys.length);
  expect(await storedCount(batches.flat().map(({ id }) => id))).toBe(keys.length);
  for (const { receivedAtMs } of receipts) expect(receivedAtMs).toBeGreaterThan(0);
});

test('the same events from several replicas at once are stored once', async () => {
  const events = Array.from({ length: 50 }, () => newEvent({ source: 'cron' }));
  const answers = await Promise.all(
    [events, [...events].reverse(), events].map((batch) => ingest.storeEvents(ours, batch)),
  );
  expect(answers.flat().filter(({ duplicate }) => !duplicate)).toHaveLength(events.length);
});

test('an id that another environment uses is answered like a repetition and tells nothing', async () => {
  const event = newEvent({ correlationId: 'secret' });
  await ingest.storeEvents(theirs, [event]);
  const [receipt] = await ingest.storeEvents(ours, [newEvent({ id: event.id })]);
  expect(receipt).toMatchObject({ id: event.id, duplicate: true, correlationId: event.id });
});

test('events of any time find a partition', async () => {
  const times = [Date.parse('2020-01-01'), Date.now() + 7 * 86_400_000, Date.parse('2090-01-01')];
  const events = times.map((timeMs) => newEvent({ id: freshId(timeMs) }));
  await ingest.storeEvents(ours, events);
  const { rows } = await platform.admin.query<{ name: string }>(
    'select tableoid::regclass::text as name from events where id = any($1) order by id',
    [events.map(({ id }) => id)],
  );
  expect(rows[0]!.name).toBe('events_default');
  expect(rows[1]!.name).toMatch(/^events_m\d{6}$/);
  expect(rows[2]!.name).toBe('events_default');
});

test('PostgreSQL finds the same lowest id of a time, so partitions begin where months do', async () => {
  const timeMs = 1_795_255_752_224;
  const { rows } = await platform.admin.query('select lowest_id_at(to_timestamp($1::float8 / 1000)) as id', [
    timeMs,
  ]);
  expect(rows).toEqual([{ id: lowestIdAt(timeMs) }]);
});

test('who waits for an event sees whether it is routed, and its runs with their outcome', async () => {
  const event = newEvent();
  await ingest.storeEvents(ours, [event]);
  expect(await ingest.eventRuns(ours, [event.id])).toEqual([{ eventId: event.id, routed: false, runs: [] }]);
  const runs = [
    newRun(platform.ours.scope, event.id),
    newRun(platform.ours.scope, event.id, {
      functionId: 'bill',
      status: 'skipped',
      skipReason: 'rate limit',
    }),
  ];
  await createSchedulerStore(platform.service).routeEvents(
    [{ id: event.id, awaitedAs: event.name, cancels: false, environmentId: ours, registryVersion: 0 }],
    runs,
  );
  await createCollectorStore(platform.service).apply([
    {
      runId: runs[0]!.id,
      environmentId: ours,
      prev: 0,
      journalSeq: 5,
      steps: [],
      startedAtMs: 1,
      status: 'completed',
      output: '{"n":1.0}',
    },
  ]);
  const [answer] = await ingest.eventRuns(ours, [event.id]);
  expect(answer!.routed).toBe(true);
  expect(answer!.runs).toHaveLength(2);
  expect(answer!.runs).toContainEqual({
    id: runs[0]!.id,
    functionId: 'ship',
    status: 'completed',
    output: '{"n":1.0}',
  });
  const skipped = { status: 'skipped', skipReason: 'rate limit' };
  expect(answer!.runs).toContainEqual({ id: runs[1]!.id, functionId: 'bill', ...skipped });
  const [foreign] = await ingest.eventRuns(theirs, [event.id]);
  expect(foreign!.runs).toEqual([]);
  expect(await createApiStore(platform.tenant).getEvent(theirs, event.id)).toBeUndefined();
});

test('the runs of events of one millisecond are each found at their own event', async () => {
  const runs = await startRuns(platform, platform.ours.scope, 30);
  const answers = await ingest.eventRuns(
    ours,
    runs.map((run) => run.eventId),
  );
  expect(answers.map((answer) => answer.runs.map((run) => run.id))).toEqual(runs.map((run) => [run.id]));
});

test('the slugs of an environment are known by its id, and of no other', async () => {
  expect(await ingest.scopeOf(ours)).toEqual(platform.ours.scope);
  expect(await ingest.scopeOf(ours)).toEqual(platform.ours.scope);
  expect(await ingest.scopeOf(freshId())).toBeUndefined();
});

test('a dead letter is stored once, and seen by its environment or by the platform alone', async () => {
  const letter = {
    id: freshId(),
    environmentId: ours,
    subject: 'ironflow.shop.prod.ingest.a',
    reason: 'unreadable',
    detail: 'data must be JSON text',
    payload: Buffer.from([0, 1, 255]).toString('base64'),
    occurredAtMs: 1_795_255_752_224,
  } as const;
  const { environmentId: _none, ...nobodys } = { ...letter, id: freshId() };
  for (const one of [letter, letter, nobodys, nobodys]) await ingest.storeDeadLetter(one);
  const seenBy = async (environmentId: string): Promise<unknown[]> =>
    platform.tenant.inEnvironment(environmentId, (transaction) =>
      transaction.query({ name: '', text: 'select id, payload from dead_letters' }, []),
    );
  expect(await seenBy(ours)).toEqual([{ id: letter.id, payload: Buffer.from([0, 1, 255]) }]);
  expect(await seenBy(theirs)).toEqual([]);
  const { rows } = await platform.admin.query('select id from dead_letters where environment_id is null');
  expect(rows).toEqual([{ id: nobodys.id }]);
});

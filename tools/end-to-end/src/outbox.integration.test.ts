/** The outbox over a database of a user's own, with `pg` and with Prisma, and a whole platform behind its relays. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { createClient } from '@ironflow/sdk';
import type { Client } from '@ironflow/sdk';
import { createOutbox } from '@ironflow/sdk/outbox';
import type { Outbox, OutboxEvent, Relay } from '@ironflow/sdk/outbox';
import { eventually } from '@ironflow/testing';
import pg from 'pg';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';

const patience = { timeoutMs: 15_000 };
let world: PlatformUnderTest;
let pool: pg.Pool;
let prisma: Database['prisma'];
let database: Database;
let outbox: Outbox;
let name: string;
let count = 0;
const relays: Relay[] = [];
/** Nobody wakes it but commits. */
const quiet = { sweepEvery: '1h', log: () => undefined } as const;

beforeAll(async () => {
  world = await startPlatformUnderTest();
  const owner = new pg.Client({ connectionString: world.platform.servers.ownerUrl });
  await owner.connect();
  await owner.query('create database shop');
  await owner.end();
  const url = new URL(world.platform.servers.ownerUrl);
  url.pathname = '/shop';
  pool = new pg.Pool({ connectionString: url.href });
  database = createDatabase({ url: url.href, applicationName: 'shop' });
  ({ prisma } = database);
  outbox = createOutbox({ client: world.tenant.client });
  for (let times = 0; times < 2; times += 1) await pool.query(outbox.schema);
}, 60_000);
beforeEach(async () => {
  name = `order.placed${(count += 1)}`;
  await pool.query('truncate ironflow_outbox');
});
afterEach(async () => {
  await Promise.all(relays.splice(0).map((relay) => relay.stop()));
});
afterAll(async () => {
  await pool?.end();
  await database?.close();
  await world?.stop();
}, 30_000);

function startRelay(options: Partial<Parameters<Outbox['relay']>[0]> = {}, of: Outbox = outbox): Relay {
  const relay = of.relay({ pool, ...quiet, ...options });
  relays.push(relay);
  return relay;
}

async function inTransaction(
  work: (transaction: pg.PoolClient) => Promise<void>,
  end: 'commit' | 'rollback' = 'commit',
): Promise<void> {
  const connection = await pool.connect();
  try {
    await connection.query('begin');
    await work(connection);
    await connection.query(end);
  } finally {
    connection.release();
  }
}

const enqueue = (events: OutboxEvent | OutboxEvent[]): Promise<void> =>
  inTransaction((transaction) => outbox.enqueue(transaction, events));

/** What the platform has; those of one request have the same time, and no order that could be read here. */
async function emitted(): Promise<unknown[]> {
  const rows = await world.query<{ data: unknown }>('select data from events where name = $1 order by id', [
    name,
  ]);
  return rows.map(({ data }) => data).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

async function kept(): Promise<{ event: OutboxEvent; error: string | null }[]> {
  const { rows } = await pool.query<{ event: OutboxEvent; error: string | null }>(
    'select event, error from ironflow_outbox order by position',
  );
  return rows;
}

const isEmpty = (): Promise<void> => eventually(async () => expect(await kept()).toEqual([]), patience);

describe('what is written in a transaction', () => {
  test('of pg is emitted once when it commits, and never when it does not', async () => {
    startRelay();
    await inTransaction((transaction) => outbox.enqueue(transaction, { name, data: 'never' }), 'rollback');
    await enqueue([{ name, data: 1, version: '2', correlationId: 'c' }, { name }]);
    await isEmpty();
    expect(await emitted()).toEqual([1, null]);
    expect(
      await world.query(
        'select version, correlation_id, source from events where name = $1 and version is not null',
        [name],
      ),
    ).toEqual([{ version: '2', correlation_id: 'c', source: 'http' }]);
  });

  test('of Prisma is emitted once when it commits, and never when it does not', async () => {
    startRelay();
    await expect(
      prisma.$transaction(async (transaction) => {
        await outbox.enqueue(transaction, { name, data: 'never' });
        throw new Error('rolled back');
      }),
    ).rejects.toThrow('rolled back');
    await prisma.$transaction(async (transaction) => {
      await outbox.enqueue(transaction, { name, data: { n: 1 } });
      await outbox.enqueue(transaction, [{ name, data: { n: 2 }, key: 'k' }]);
    });
    await isEmpty();
    expect(await emitted()).toEqual([{ n: 1 }, { n: 2 }]);
  });

  test('may have data with characters that PostgreSQL has not', async () => {
    const odd = ['a\u0000b', 'half of a pair: \ud800', { 'key \u0000': '\udfff "\\u0000"' }];
    await inTransaction(async (transaction) => {
      for (const data of odd) await outbox.enqueue(transaction, { name, data });
    });
    await prisma.$transaction((transaction) => outbox.enqueue(transaction, { name, data: odd, key: 'k' }));
    expect((await kept()).map(({ event }) => event.data)).toEqual([...odd, odd]);
    await expect(enqueue({ name, key: 'half of a pair: \ud800' })).rejects.toThrow(/^key: /);
    startRelay();
    await isEmpty();
    expect(await emitted()).toHaveLength(odd.length + 1);
  });

  test('is refused there and then, by its field, if the platform would refuse it', async () => {
    for (const [event, message] of [
      [{ name: 'a b' }, /^name: /],
      [{ name: 'ironflow.x' }, /^name: .*reserved/],
      [{ name, data: 'x'.repeat(600_000) }, /^data: must be at most/],
      [{ name, data: '"'.repeat(262_000) }, /^data: must fit one message/],
      [{ name, data: JSON.parse('['.repeat(300) + ']'.repeat(300)) }, /^data: must not nest/],
      [{ name, data: JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)) }, /^data: must not nest/],
      [{ name, correlationId: 'Auftrag-ü' }, /^correlationId: .*ASCII/],
      [{ name, causationId: ' a' }, /^causationId: .*ASCII/],
      [{ name, version: 'a\u0000' }, /^version: .*U\+0000/],
      [{ name, idempotencyKey: 'a\ud800' }, /^idempotencyKey: .*Unicode/],
      [{ name, at: '2999-01-01T00:00:00Z' }, /^at: must be at most a year ahead/],
      [{ name, key: '' }, /^key: /],
      [{ name, when: 1 }, /^when: is not a known field/],
      [[{ name }, { name: '' }], /^\[1\]\.name: /],
    ] as [OutboxEvent, RegExp][]) {
      await expect(enqueue(event)).rejects.toThrow(message);
    }
    expect(await kept()).toEqual([]);
  });
});

/** A client that does what is done to it, and emits. */
const clientThat = (
  before: (events: readonly OutboxEvent[]) => unknown,
  after: () => unknown = () => {},
) => ({
  emit: (async (events, options) => {
    await before(Array.isArray(events) ? (events as OutboxEvent[]) : [events as OutboxEvent]);
    const answer = await world.tenant.client.emit(events, options);
    await after();
    return answer;
  }) satisfies Client['emit'],
});

describe('a relay', () => {
  test('that dies between emitting and removing leaves rows that become the same events', async () => {
    const events = Array.from({ length: 5 }, (_, index) => ({ name, data: index }));
    await enqueue(events);
    const dying = new pg.Pool({ connectionString: pool.options.connectionString!, max: 2 });
    dying.on('error', () => undefined);
    let hasEmitted = (): void => undefined;
    const wasEmitted = new Promise<void>((resolve) => (hasEmitted = resolve));
    const cut = async (): Promise<void> => {
      hasEmitted();
      // As when its process is killed: its connections end, and their transactions with them.
      await pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'dying relay'`,
      );
    };
    const first = createOutbox({ client: clientThat(() => undefined, cut) });
    dying.on('connect', (client) => void client.query(`set application_name = 'dying relay'`));
    const relay = first.relay({ pool: dying, ...quiet });
    await wasEmitted;
    await relay.stop();
    await dying.end();
    expect(await kept()).toHaveLength(5);
    expect(await emitted()).toHaveLength(5);
    startRelay();
    await isEmpty();
    expect(await emitted()).toEqual([0, 1, 2, 3, 4]);
  });

  test('and others beside it emit each event once, those of one key in their order', async () => {
    const order = new Map<string, number[]>();
    const note = async (events: readonly OutboxEvent[]): Promise<void> => {
      for (const { data } of events) {
        const { key, n } = data as { key: string; n: number };
        order.set(key, [...(order.get(key) ?? []), n]);
      }
    };
    const watched = createOutbox({ client: clientThat(note) });
    for (let relay = 0; relay < 3; relay += 1) startRelay({}, watched);
    // Beyond a power of ten: positions are numbers, not texts.
    await pool.query('alter table ironflow_outbox alter column position restart with 9950');
    const keys = ['a', 'b', 'c', 'd'];
    for (let n = 0; n < 60; n += 1) {
      await Promise.all(keys.map((key) => enqueue([{ name, key, data: { key, n } }])));
    }
    await isEmpty();
    expect(await emitted()).toHaveLength(240);
    const inOrder = Array.from({ length: 60 }, (_, n) => n);
    for (const key of keys) expect(order.get(key)).toEqual(inOrder);
  });

  test('leaves events of a key to the relay that has one of them, and takes others', async () => {
    const order: unknown[] = [];
    const note = (events: readonly OutboxEvent[]) => void order.push(...events.map(({ data }) => data));
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const slow = createOutbox({
      client: clientThat(async (events) => {
        note(events);
        await held;
      }),
    });
    await enqueue({ name, key: 'k', data: 'first' });
    startRelay({}, slow);
    await eventually(() => expect(order).toEqual(['first']), patience);
    await enqueue([
      { name, key: 'k', data: 'second' },
      { name, data: 'other' },
    ]);
    startRelay({}, createOutbox({ client: clientThat(note) }));
    await eventually(async () => expect(await emitted()).toContain('other'), patience);
    expect(order).toEqual(['first', 'other']);
    release();
    await isEmpty();
    expect(order).toEqual(['first', 'other', 'second']);
  });

  test('sets aside what the platform refuses, with the reason, and goes on with the rest', async () => {
    // As a table has it that was written by hand, or by an older version.
    const bad = JSON.stringify({ name: 'a b', data: 'SECRET' });
    await enqueue({ name, data: 1, key: 'k' });
    await pool.query('insert into ironflow_outbox (key, event) values ($1, $2)', ['k', bad]);
    await enqueue({ name, data: 2, key: 'k' });
    const lines: unknown[] = [];
    startRelay({ log: (line) => lines.push(line) });
    await eventually(async () => expect(await kept()).toHaveLength(1), patience);
    expect(await emitted()).toEqual([1, 2]);
    expect((await kept())[0]).toMatchObject({ event: { name: 'a b' }, error: expect.stringMatching(/name/) });
    expect(JSON.stringify(lines)).toContain('set aside');
    expect(JSON.stringify(lines)).not.toContain('SECRET');
  });

  test('sets nothing aside while the platform is away, or does not know its key, and goes on later', async () => {
    let isAway = true;
    const wrong = createClient({ ironflowUrl: world.tenant.ironflowUrl, apiKey: 'ifk_nobodys' });
    const client: Pick<Client, 'emit'> = {
      emit: (events, options) => (isAway ? wrong : world.tenant.client).emit(events, options),
    };
    const lines: string[] = [];
    startRelay({ log: ({ message }) => lines.push(message) }, createOutbox({ client }));
    await enqueue({ name, data: 1 });
    await eventually(() => expect(lines.length).toBeGreaterThan(1), patience);
    expect((await kept()).map(({ error }) => error)).toEqual([null]);
    isAway = false;
    await isEmpty();
    expect(await emitted()).toEqual([1]);
  });

  test('finds by its sweep what nobody told it of, and with the only connection of its pool', async () => {
    const single = new pg.Pool({ connectionString: pool.options.connectionString!, max: 1 });
    const relay = outbox.relay({ pool: single, sweepEvery: '50ms', log: () => undefined });
    await enqueue({ name, data: 1 });
    await isEmpty();
    await relay.stop();
    await single.end();
    expect(await emitted()).toEqual([1]);
  });

  test('that stops first ends what it has begun, and gives its connections back', async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    let hasBegun = (): void => undefined;
    const begun = new Promise<void>((resolve) => (hasBegun = resolve));
    const slow = createOutbox({
      client: clientThat(async () => {
        hasBegun();
        await held;
      }),
    });
    const own = new pg.Pool({ connectionString: pool.options.connectionString! });
    const relay = slow.relay({ pool: own, ...quiet });
    await enqueue({ name, data: 1 });
    await begun;
    const stopped = relay.stop();
    release();
    await stopped;
    expect(await kept()).toEqual([]);
    expect(await emitted()).toEqual([1]);
    await own.end();
  });
});

test('a table may have another name, and only such a one as statements can have', async () => {
  await pool.query('create schema if not exists shop');
  const other = createOutbox({ client: world.tenant.client, table: 'shop.outbox' });
  await pool.query(other.schema);
  startRelay({}, other);
  await inTransaction((transaction) => other.enqueue(transaction, { name, data: 1 }));
  await eventually(async () => expect(await emitted()).toEqual([1]), patience);
  expect(() => createOutbox({ table: 'outbox; drop table orders' })).toThrow(/^table: /);
  expect(() => createOutbox().relay({ pool })).toThrow(/^client: /);
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually, startPostgres } from '@ironflow/testing';
import type { PostgresServer } from '@ironflow/testing';
import { createDatabase } from './index.js';
import type { Database } from './index.js';

/** Its allocator (glibc) overwrites what is freed, so that whoever still uses it breaks at once instead of now and then. */
const overwriteFreed = { MALLOC_PERTURB_: '165' };

let folder: string;
let server: PostgresServer;
let database: Database;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ironflow-pruning-'));
  Object.assign(process.env, overwriteFreed);
  try {
    server = await startPostgres({ dataDir: folder, durable: false });
  } finally {
    for (const name of Object.keys(overwriteFreed)) delete process.env[name];
  }
  database = createDatabase({ url: server.url, applicationName: 'pruning test', maxConnections: 3 });
}, 60_000);
afterAll(async () => {
  await database?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
}, 30_000);

const statement = (name: string, text: string) => ({ name, text });

test('a statement that waited for a lock of rows goes on into partitions, whatever the version of PostgreSQL', async () => {
  const setUp = [
    'create table tickets (id integer primary key, taken boolean not null default false)',
    'create table seats (id integer primary key, sold boolean not null default false) partition by range (id)',
    'create table seats_low partition of seats for values from (0) to (100)',
    'create table seats_high partition of seats for values from (100) to (200)',
    'insert into tickets select generate_series(0, 199)',
    'insert into seats select generate_series(0, 199)',
  ];
  for (const [index, text] of setUp.entries()) await database.query(statement(`set_up_${index}`, text), []);
  const sell = statement(
    'sell',
    `with locked as materialized (
      select id from tickets where id = any($1::integer[]) order by id for update
    ), sold as (
      update seats set sold = true where id = any($1::integer[])
        and id >= (select id from locked order by id limit 1)
        and id <= (select id from locked order by id desc limit 1)
      returning id
    ) select array_agg(id order by id) as ids from sold`,
  );
  const ids = [1, 2, 101, 102];

  const { underWay } = await database.transaction(async (other) => {
    await other.query(statement('take', 'update tickets set taken = true where id = any($1)'), [[1, 101]]);
    const selling = database.query<{ ids: number[] }>(sell, [ids]);
    selling.catch(() => undefined);
    await eventually(
      async () => {
        const [row] = await database.query<{ waiting: boolean }>(
          statement('waiting', `select exists (select from pg_locks where not granted) as waiting`),
          [],
        );
        expect(row!.waiting).toBe(true);
      },
      { timeoutMs: 10_000, description: 'the statement waits for the rows' },
    );
    return { underWay: selling };
  });

  await expect(underWay).resolves.toEqual([{ ids }]);
});

/** How months are dropped beside running work: what is asked under the lock, who waits for it, and who may. What is removed at all is shown in services/scheduler. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { lowestIdAt } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import pg from 'pg';
import { createPlatform, freshId, newRun } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createRetentionMonths } from './index.js';
import type { RetentionMonths, StoredMonth } from './index.js';
import { partitionedTables } from './partitions.js';

const month: StoredMonth = { name: '202001', endMs: Date.UTC(2020, 1) };
const within = Date.UTC(2020, 0, 15);
let platform: Platform;
let months: RetentionMonths;

beforeAll(async () => {
  platform = await createPlatform();
  months = createRetentionMonths(platform.service);
}, 60_000);
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

beforeEach(async () => {
  const bounds = `from ('${lowestIdAt(Date.UTC(2020, 0))}') to ('${lowestIdAt(month.endMs)}')`;
  await platform.admin.query('truncate events, runs, steps, unrouted_events, timers, signals');
  for (const table of partitionedTables) {
    const partition = `${table}_m${month.name}`;
    await platform.admin.query(`drop table if exists ${partition};
      create table ${partition} partition of ${table} for values ${bounds};
      alter table ${partition} owner to ironflow_owner`);
  }
});

async function addRun(status: string, timeMs = within): Promise<string> {
  const { environmentId } = platform.ours.scope;
  const { id, eventId } = newRun(platform.ours.scope, freshId(timeMs));
  await platform.admin.query(
    `insert into events (id, environment_id, name, data, source, correlation_id) values ($1, $2, 'a', '1', 'http', 'c')`,
    [eventId, environmentId],
  );
  await platform.admin.query(
    `insert into runs (id, environment_id, event_id, app_id, function_id, function_hash, mode, status, correlation_id, ended_at)
     values ($1, $2, $3, 'a', 'f', 'h', 'pull', $4, 'c', to_timestamp($5::float8 / 1000))`,
    [id, environmentId, eventId, status, status === 'completed' ? timeMs : null],
  );
  await platform.admin.query(
    `insert into signals (run_id, id, environment_id, name) values ($1, gen_random_uuid(), $2, 'n')`,
    [id, environmentId],
  );
  return id;
}

const count = async (table: string): Promise<number> =>
  Number((await platform.admin.query<{ count: string }>(`select count(*) from ${table}`)).rows[0]!.count);
const names = async (): Promise<string[]> => (await months.list()).map(({ name }) => name);

test('a month goes with everything that is its runs’ own, and others stay', async () => {
  await addRun('completed');
  const other = await addRun('completed', Date.now());
  expect(await names()).toContain('202001');
  const query = { month, endedBeforeMs: month.endMs, keepers: [] };
  expect(await months.reasonToKeep(query)).toBeUndefined();
  expect(await months.drop(month)).toBeUndefined();
  expect(await names()).not.toContain('202001');
  expect([await count('runs'), await count('events'), await count('signals')]).toEqual([1, 1, 1]);
  expect((await platform.admin.query('select id from runs')).rows).toEqual([{ id: other }]);
  expect(await months.drop(month)).toBeUndefined();
});

test('what came after the month was looked through is seen under the lock', async () => {
  const { environmentId } = platform.ours.scope;
  const cases: [string, () => Promise<unknown>][] = [
    ['a run to be activated', () => addRun('queued')],
    ['one without a worker', () => addRun('waiting_for_worker')],
    [
      'one that sleeps',
      async () =>
        platform.admin.query(
          `insert into timers (run_id, step_id, attempt, environment_id, due_at) values ($1, 's', 1, $2, now())`,
          [await addRun('waiting'), environmentId],
        ),
    ],
    [
      'an event to be routed',
      () =>
        platform.admin.query('insert into unrouted_events (event_id, environment_id) values ($1, $2)', [
          freshId(within),
          environmentId,
        ]),
    ],
  ];
  for (const [name, add] of cases) {
    await add();
    expect([name, await months.drop(month)]).toEqual([name, { reason: 'live' }]);
    expect(await names()).toContain('202001');
    await platform.admin.query('truncate runs, timers, unrouted_events');
  }
});

test('one that was left in the middle is gone on with, and stays while a run has come into it', async () => {
  await platform.service.query({ name: '', text: 'select retire_month($1, $2)' }, ['runs', month.name]);
  // Its partition is gone: this one is in the default one.
  await addRun('completed');
  expect(await months.drop(month)).toEqual({ reason: 'live' });
  expect([await count('events_m202001'), await count('runs_default')]).toEqual([1, 1]);
  await platform.admin.query('truncate runs');
  expect(await months.drop(month)).toBeUndefined();
  expect([await names(), await count('signals')]).toEqual([expect.not.arrayContaining(['202001']), 0]);
});

test('a table that is busy is left, and nobody waits for it for long', async () => {
  await addRun('completed');
  const holder = new pg.Client({ connectionString: platform.ownerUrl });
  await holder.connect();
  await holder.query('begin; select from runs limit 1');
  try {
    const dropping = months.drop(month);
    const waits: number[] = [];
    for (let statement = 0; statement < 20; statement += 1) {
      const startedAt = performance.now();
      await platform.tenant.inEnvironment(platform.ours.scope.environmentId, (transaction) =>
        transaction.query({ name: '', text: 'select count(*) from runs' }, []),
      );
      waits.push(performance.now() - startedAt);
    }
    expect(await dropping).toEqual({ reason: 'busy' });
    // 100 ms for the lock, and what a busy machine adds.
    expect(Math.max(...waits)).toBeLessThan(400);
  } finally {
    await holder.end();
  }
  expect(await months.drop(month)).toBeUndefined();
});

test('no role drops a month that is not over, and that of tenants none at all', async () => {
  const current = new Date().toISOString().slice(0, 7).replace('-', '');
  const call = (text: string) => platform.service.query({ name: '', text }, []);
  await expect(call(`select drop_month('runs', '${current}')`)).rejects.toThrow('no month');
  await expect(call(`select drop_month('environments', '202001')`)).rejects.toThrow('no month');
  expect(await call(`select retire_month('api_keys', '202001') as state`)).toEqual([{ state: 'missing' }]);
  for (const name of ['lock_month', 'drop_month', 'retire_month']) {
    const asTenant = platform.tenant.query({ name: '', text: `select ${name}('runs', '202001')` }, []);
    await expect(asTenant).rejects.toThrow('permission denied');
  }
});

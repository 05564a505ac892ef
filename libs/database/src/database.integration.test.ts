import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually, freePort, sharedPostgres, stopSharedServers } from '@ironflow/testing';
import { createPlatform, newEvent } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createDatabase, createIngestStore, createTenantStore } from './index.js';

let platform: Platform;

beforeAll(async () => {
  platform = await createPlatform();
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const unavailable = { category: 'unavailable', code: 'database_unavailable' };
const pause = { name: 'pause', text: 'select pg_sleep(20)' };

test('a database that is not there is unavailable, to statements and to transactions', async () => {
  const url = `postgresql://nobody@127.0.0.1:${await freePort()}/none`;
  const database = createDatabase({ url, applicationName: 'test' });
  await expect(database.now()).rejects.toMatchObject(unavailable);
  await expect(database.transaction(async () => 1)).rejects.toMatchObject(unavailable);
  await expect(database.withAdvisoryLock('a', async () => 1)).rejects.toMatchObject(unavailable);
  expect(await database.isReachable()).toBe(false);
  await database.close();
});

test('connections that are cut fail what is under way and are replaced by themselves', async () => {
  const { service, admin } = platform;
  const underWay = [
    service.query(pause, []),
    service.transaction((transaction) => transaction.query(pause, [])),
    service.withAdvisoryLock('a', () => service.query(pause, [])),
  ].map((work) => expect(work).rejects.toMatchObject(unavailable));
  const busy = `from pg_stat_activity where application_name = 'service test' and query = $1`;
  await eventually(
    async () => {
      const { rows } = await admin.query<{ count: number }>(`select count(*)::int ${busy}`, [pause.text]);
      expect(rows[0]!.count).toBe(3);
    },
    { timeoutMs: 5_000, description: 'three statements under way' },
  );
  await admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'service test'`,
  );
  await Promise.all(underWay);
  expect(await service.now()).toBeGreaterThan(0);
  expect(await service.withAdvisoryLock('a', async () => 'free again')).toBe('free again');
});

test('a transaction commits as a whole or not at all, and its connection is good for the next', async () => {
  const insert = {
    name: 'insert_organization',
    text: 'insert into organizations (id, slug) values (gen_random_uuid(), $1)',
  };
  const slugs = async (): Promise<unknown[]> =>
    (await platform.admin.query<{ slug: string }>(`select slug from organizations where slug like 'tx-%'`))
      .rows;
  await expect(
    platform.service.transaction(async (transaction) => {
      await transaction.query(insert, ['tx-a']);
      throw new Error('changed my mind');
    }),
  ).rejects.toThrow('changed my mind');
  expect(await slugs()).toEqual([]);
  await platform.service.transaction((transaction) => transaction.query(insert, ['tx-b']));
  expect(await slugs()).toEqual([{ slug: 'tx-b' }]);
});

test('an environment that is no UUID never reaches PostgreSQL', async () => {
  const injection = "x'; set role ironflow_owner; --";
  await expect(platform.tenant.inEnvironment(injection, async () => 1)).rejects.toThrow(/UUID/);
});

test('the server going away for a moment is survived by every store', async () => {
  const { server } = await sharedPostgres();
  const { environmentId } = platform.ours.scope;
  const ingest = createIngestStore(platform.tenant);
  const tenants = createTenantStore(platform.service, platform.secrets);
  // This server commits without waiting for the disk; what is about to be read again has to be there.
  await platform.admin.query('checkpoint');
  await server.kill();
  await expect(ingest.storeEvents(environmentId, [newEvent()])).rejects.toMatchObject(unavailable);
  await expect(tenants.signingKeys(environmentId)).rejects.toMatchObject(unavailable);
  expect(await platform.service.isReachable()).toBe(false);
  await server.restart();
  expect(await ingest.storeEvents(environmentId, [newEvent()])).toHaveLength(1);
  expect(await tenants.signingKeys(environmentId)).toEqual([platform.ours.signingKey]);
});

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { eventually, freePort, sharedPostgres, stopSharedServers } from '@ironflow/testing';
import { createPlatform, newEvent, passwords } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createDatabase, createIngestStore, createTenantStore, serviceUrl } from './index.js';

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

test('a host that vanishes without a word fails what is under way, and its connections are let go', async () => {
  const path = await vanishingPath(serviceUrl(platform.ownerUrl, 'ironflow_service', passwords.service));
  const database = createDatabase({ url: path.url, applicationName: 'far', statementTimeoutMs: 500 });
  const begun = { name: 'one', text: 'select 1 as one' };
  await database.query(begun, []);
  const underWay = database.transaction(async (transaction) => {
    await transaction.query(begun, []);
    path.vanish();
    return transaction.query(begun, []);
  });
  await expect(underWay).rejects.toMatchObject(unavailable);
  path.comeBack();
  expect(await database.query(begun, [])).toEqual([{ one: 1 }]);
  await database.close();
  await path.close();
}, 20_000);

/** A way to the server that can swallow everything, as a network does whose host is gone. */
async function vanishingPath(target: string) {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let isGone = false;
  const server = createServer((near) => {
    const far = connect({ host: hostname, port: Number(port) });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('data', (data) => void (isGone || to.write(data)));
      from.on('error', () => undefined).on('close', () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(target);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    vanish: () => void (isGone = true),
    comeBack: () => void (isGone = false),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

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

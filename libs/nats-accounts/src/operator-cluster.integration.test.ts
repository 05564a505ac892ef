/** Accounts on three servers: each is told once, by whichever server, and all of them go by it. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import type { NatsConnection } from '@nats-io/transport-node';
import { subjectFilters, subjects } from '@ironflow/schema';
import { createScratch, eventually, startNatsCluster } from '@ironflow/testing';
import type { NatsCluster } from '@ironflow/testing';
import { parseAccountsFile } from './accounts-file.js';
import type { AccountSigners } from './accounts-file.js';
import { createInstallation } from './installation.js';
import { createAccountKeys, encodeTenantAccount } from './tenant-account.js';
import { createUserCredentials } from './user-credentials.js';

const place = { project: 'acme', env: 'prod' };
const keys = createAccountKeys();
const undo: (() => unknown)[] = [];
let cluster: NatsCluster;
let signers: AccountSigners;
let systemCredentials: string;

beforeAll(async () => {
  const scratch = await createScratch('accounts-cluster');
  undo.push(() => scratch.remove());
  const installation = await createInstallation({ name: 'test', accountsFolder: './accounts' });
  ({ signers, systemCredentials } = parseAccountsFile(JSON.stringify(installation.accounts)));
  cluster = await startNatsCluster({ storeDir: scratch.path, server: { operator: installation.server } });
  undo.push(() => cluster.stop());
  const door = await open(1, installation.credentials.platform);
  door.subscribe(subjectFilters.everyDirectIngested, {
    callback: (_error, message) => void message.respond('taken'),
  });
  await door.flush();
  await tell(0, []);
}, 60_000);
afterAll(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
}, 30_000);

async function open(node: number, creds: string): Promise<NatsConnection> {
  const servers = cluster.servers[node]!.url;
  const authenticator = credsAuthenticator(Buffer.from(creds));
  const connection = await connect({ servers, authenticator, reconnect: false, ignoreClusterUpdates: true });
  undo.push(() => connection.close());
  return connection;
}

const secondNow = (): number => Math.floor(Date.now() / 1_000);
let toldInSecond = 0;

/** Of the account, by one node. Servers that differ go by what was issued later, in whole seconds. */
async function tell(node: number, revokedUsers: readonly string[]): Promise<void> {
  await eventually(async () => expect(secondNow()).toBeGreaterThan(toldInSecond));
  toldInSecond = secondNow();
  const token = await encodeTenantAccount({ place, publicKey: keys.publicKey, revokedUsers }, signers);
  const system = await open(node, systemCredentials);
  expect((await system.request('$SYS.REQ.CLAIMS.UPDATE', token)).json()).toMatchObject({
    data: { code: 200 },
  });
}

test('a user of an account reaches its door by every node, wherever the account was told and the door is', async () => {
  const { text } = await createUserCredentials(keys.seed, { name: 'test' });
  for (const node of cluster.servers.keys()) {
    await eventually(async () => {
      const tenant = await open(node, text);
      const answer = await tenant.request(subjects.ingest(place, 'order.placed'), '{}', { timeout: 2_000 });
      expect(answer.string()).toBe('taken');
    });
  }
}, 30_000);

test('a user that is revoked by one node is cut off by all within a second, and others stay', async () => {
  const { text, publicKey } = await createUserCredentials(keys.seed, { name: 'revoked' });
  const other = await createUserCredentials(keys.seed, { name: 'other' });
  const revoked = await Promise.all([...cluster.servers.keys()].map((node) => open(node, text)));
  const stays = await open(1, other.text);
  const startedAtMs = performance.now();
  await tell(2, [publicKey]);
  await Promise.all(revoked.map((connection) => connection.closed()));
  expect(performance.now() - startedAtMs).toBeLessThan(1_000);
  for (const node of cluster.servers.keys()) await expect(open(node, text)).rejects.toThrow(/authorization/i);
  await stays.flush();
  expect(stays.isClosed()).toBe(false);
}, 30_000);

test('a node that was away learns what was revoked meanwhile from the others', async () => {
  const { text, publicKey } = await createUserCredentials(keys.seed, { name: 'revoked meanwhile' });
  const away = cluster.servers[2]!;
  await (await open(2, text)).flush();
  await away.stop();
  await tell(0, [publicKey]);
  await away.restart();
  await cluster.waitUntilReady();
  await eventually(
    async () => {
      // One that is still let in would hold a connection of its account.
      const entered = open(2, text).then((connection) => connection.close());
      await expect(entered).rejects.toThrow(/authorization/i);
    },
    { timeoutMs: 15_000 },
  );
}, 60_000);

/** Tokens on a real server in operator mode: what it lets users of an account do, and whom it turns away. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { decode, encodeAccount, encodeUser, fmtCreds } from '@nats-io/jwt';
import type { Account } from '@nats-io/jwt';
import { createUser, fromPublic, fromSeed } from '@nats-io/nkeys';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import type { Authenticator, NatsConnection } from '@nats-io/transport-node';
import { subjectFilters, subjects } from '@ironflow/schema';
import { createScratch, eventually, startNatsServer } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { parseAccountsFile } from './accounts-file.js';
import type { AccountSigners } from './accounts-file.js';
import { createInstallation } from './installation.js';
import type { Installation } from './installation.js';
import { createAccountKeys, encodeTenantAccount } from './tenant-account.js';
import type { AccountKeys } from './tenant-account.js';
import { createUserCredentials } from './user-credentials.js';

const acme = { project: 'acme', env: 'prod' };
const globex = { project: 'globex', env: 'prod' };
const undo: (() => unknown)[] = [];
let installation: Installation;
let signers: AccountSigners;
let server: NatsServer;
let platform: NatsConnection;
let system: NatsConnection;
let acmeKeys: AccountKeys;

beforeAll(async () => {
  const scratch = await createScratch('accounts');
  undo.push(() => scratch.remove());
  installation = await createInstallation({ name: 'test', accountsFolder: './accounts' });
  const parsed = parseAccountsFile(JSON.stringify(installation.accounts));
  signers = parsed.signers;
  server = await startNatsServer({ storeDir: scratch.path, operator: installation.server });
  undo.push(() => server.stop());
  platform = await open(installation.credentials.platform);
  system = await open(parsed.systemCredentials);
  acmeKeys = createAccountKeys();
  await push(
    await encodeTenantAccount({ place: acme, publicKey: acmeKeys.publicKey, revokedUsers: [] }, signers),
  );
}, 60_000);
afterAll(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

async function open(creds: string | Authenticator): Promise<NatsConnection> {
  const authenticator = typeof creds === 'string' ? credsAuthenticator(Buffer.from(creds)) : creds;
  const connection = await connect({ servers: server.url, authenticator, reconnect: false });
  undo.push(() => connection.close());
  return connection;
}

async function push(token: string): Promise<unknown> {
  return (await system.request('$SYS.REQ.CLAIMS.UPDATE', token)).json();
}

async function openTenant(options: { expiresAtMs?: number } = {}): Promise<NatsConnection> {
  return open((await createUserCredentials(acmeKeys.seed, { name: 'test', ...options })).text);
}

describe('a user of an environment’s account', () => {
  test('reaches the door of its own events by their public name, and is answered', async () => {
    const heard: string[] = [];
    const door = platform.subscribe(subjectFilters.everyDirectIngested, {
      callback: (_error, message) => {
        heard.push(message.subject);
        message.respond('taken');
      },
    });
    await platform.flush();
    const tenant = await openTenant();
    const answer = await tenant.request(subjects.ingest(acme, 'order.placed'), '{}');
    expect(answer.string()).toBe('taken');
    expect(heard).toEqual([subjects.directIngest(acme, 'order.placed')]);
    door.unsubscribe();
  });

  test('may neither publish nor listen elsewhere', async () => {
    const tenant = await openTenant();
    const errors: string[] = [];
    void (async () => {
      for await (const status of tenant.status())
        if (status.type === 'error') errors.push(status.error.message);
    })();
    const refused = [
      ['publish', subjects.ingest(globex, 'order.placed')],
      ['publish', subjects.directIngest(acme, 'order.placed')],
      ['publish', '$JS.API.INFO'],
      ['publish', '$SYS.REQ.SERVER.PING'],
      ['subscribe', '>'],
      ['subscribe', 'ironflow.>'],
      ['subscribe', '$SYS.>'],
    ] as const;
    for (const [what, subject] of refused) {
      if (what === 'publish') tenant.publish(subject, '{}');
      else tenant.subscribe(subject, { callback: () => undefined });
    }
    await tenant.flush();
    await eventually(() => expect(errors).toHaveLength(refused.length));
    expect(errors.every((error) => /permissions violation/i.test(error))).toBe(true);
  });

  test('is not let in when its credentials have expired', async () => {
    await expect(openTenant({ expiresAtMs: Date.now() - 5_000 })).rejects.toThrow(/expired|authorization/i);
  });
});

test('a revoked user is cut off at once and let in no more, while others stay', async () => {
  const { text, publicKey } = await createUserCredentials(acmeKeys.seed, { name: 'revoked' });
  const [revoked, other] = [await open(text), await openTenant()];
  const account = { place: acme, publicKey: acmeKeys.publicKey, revokedUsers: [publicKey] };
  const token = await encodeTenantAccount(account, signers);
  const startedAtMs = performance.now();
  await push(token);
  await revoked.closed();
  expect(performance.now() - startedAtMs).toBeLessThan(1_000);
  await expect(open(text)).rejects.toThrow(/authorization/i);
  await other.flush();
  expect(other.isClosed()).toBe(false);
});

test('a token that stands for itself, without a proof of the key, is not taken', async () => {
  const user = createUser();
  const account = fromSeed(Buffer.from(acmeKeys.seed));
  const token = await encodeUser('bearer', user, account, { bearer_token: true });
  await expect(open(() => ({ jwt: token }))).rejects.toThrow(/authorization/i);
  await expect(open(new TextDecoder().decode(fmtCreds(token, user)))).rejects.toThrow(/authorization/i);
});

test('an import that is turned to another environment’s subject gives nothing: its activation token is of the own one', async () => {
  const heard: string[] = [];
  platform.subscribe('direct.>', { callback: (_error, message) => void heard.push(message.subject) });
  await platform.flush();
  const keys = createAccountKeys();
  const token = await encodeTenantAccount(
    { place: acme, publicKey: keys.publicKey, revokedUsers: [] },
    signers,
  );
  const claims = decode<Account>(token).nats as Account;
  claims.imports![0]!.subject = subjects.directIngestOf(globex);
  claims.imports![0]!.local_subject = subjects.ingestOf(globex);
  claims.default_permissions = {};
  // Even signed by the operator, which no tenant can.
  const edited = await encodeAccount('edited', fromPublic(keys.publicKey), claims, {
    signer: signers.operator,
  });
  await push(edited);
  const { text } = await createUserCredentials(keys.seed, { name: 'editor' });
  const outcome = await open(text)
    .then((tenant) => tenant.request(subjects.ingest(globex, 'order.placed'), '{}', { timeout: 500 }))
    .then(() => 'answered')
    .catch(() => 'refused');
  expect([outcome, heard]).toEqual(['refused', []]);
});

test('what an account asks for beyond its own users’ claims is not signed by the keys that are online', () => {
  const { operatorSigningSeed, platformSigningSeed } = installation.accounts;
  const seeds = Object.values(installation.identitySeeds);
  expect(seeds).not.toContain(operatorSigningSeed);
  expect(seeds).not.toContain(platformSigningSeed);
});

test('with its accounts lost, a server still has the system’s and the platform’s, and takes the others again', async () => {
  const { text } = await createUserCredentials(acmeKeys.seed, { name: 'after' });
  await server.restart({ wipe: true });
  const [pusher, services] = [
    await open(installation.accounts.systemCredentials),
    await open(installation.credentials.platform),
  ];
  expect((await services.request('$JS.API.INFO')).json()).toMatchObject({ streams: 0 });
  const missing: string[] = [];
  pusher.subscribe('$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP', {
    callback: (_error, message) => void missing.push(message.subject.split('.')[3]!),
  });
  await pusher.flush();
  await expect(open(text)).rejects.toThrow(/authorization/i);
  expect(missing).toContain(acmeKeys.publicKey);
  const account = { place: acme, publicKey: acmeKeys.publicKey, revokedUsers: [] };
  await pusher.request('$SYS.REQ.CLAIMS.UPDATE', await encodeTenantAccount(account, signers));
  await (await open(text)).flush();
});

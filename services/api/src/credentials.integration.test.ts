import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createNatsAccountStore, createTenantStore, listNatsAccounts } from '@ironflow/database';
import type { NatsAccount, NatsCredentialRequest } from '@ironflow/database';
import { connectAccountResolver } from '@ironflow/jetstream';
import { createInstallation, parseAccountsFile } from '@ironflow/nats-accounts';
import { limits, routes } from '@ironflow/schema';
import { createLogger, systemClock } from '@ironflow/service';
import { createScratch, eventually, startNatsServer } from '@ironflow/testing';
import { createDirectNats } from './direct-nats.js';
import { newId, startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest();
}, 60_000);
afterAll(() => under.stop());

const told: NatsAccount[] = [];
const fails = (): Promise<void> => Promise.reject(new Error('no server is there'));

/** Keys are not what is looked at here: the platform's own suite makes real ones. */
function request(changes: Partial<NatsCredentialRequest> = {}): NatsCredentialRequest {
  return {
    ...{ name: 'warehouse', expiresInSeconds: 3_600 },
    makeAccount: () => ({ publicKey: `A-${newId()}`, seed: 'the seed' }),
    makeUser: ({ accountSeed }) => Promise.resolve({ publicKey: `U-${newId()}`, text: `of ${accountSeed}` }),
    tellServers: async (account) => void told.push(account),
    ...changes,
  };
}

const store = () => createNatsAccountStore(under.platform, under.secrets);

test('without servers in operator mode nobody gets credentials, and is told why', async () => {
  const answer = await under.request('POST', '/v1/credentials', { body: { name: 'warehouse' } });
  expect(answer).toMatchObject({ status: 409, body: { error: { code: 'direct_nats_unavailable' } } });
  const list = await under.request('GET', '/v1/credentials');
  expect(list).toEqual({ status: 200, body: { credentials: [] } });
  const revoked = await under.request('DELETE', `/v1/credentials/${newId()}`);
  expect(revoked).toMatchObject({ status: 404, body: { error: { code: 'credential_not_found' } } });
});

test.each([
  ['a name that a server would not show', { name: 'a\nb' }],
  ['more than a year', { name: 'a', expiresInSeconds: limits.credentialSecondsMax + 1 }],
  ['no name', {}],
])('%s is refused', async (_what, body) => {
  expect((await under.request('POST', '/v1/credentials', { body })).status).toBe(400);
});

test('only admins see and make them', async () => {
  const key = await under.addKey(under.acme.scope, 'developer');
  expect((await under.request('GET', '/v1/credentials', { key })).status).toBe(403);
  expect((await under.request('POST', '/v1/credentials', { key, body: { name: 'a' } })).status).toBe(403);
});

test('servers are told of an account with all that it revokes, and its seed is opened for each new user', async () => {
  const { scope } = under.acme;
  told.length = 0;
  const first = await store().create(scope, request());
  const second = await store().create(scope, request());
  expect([first.text, second.text]).toEqual(['of the seed', 'of the seed']);
  await store().revoke(scope, first.credential.id, async (account) => void told.push(account));
  expect(told).toEqual([
    { scope, publicKey: expect.any(String), revokedUsers: [] },
    { scope, publicKey: told[0]!.publicKey, revokedUsers: [] },
    { scope, publicKey: told[0]!.publicKey, revokedUsers: [first.credential.publicKey] },
  ]);
  const list = await under.request('GET', '/v1/credentials');
  const { credentials } = routes.listCredentials.answers[200].schema.parse(list.body);
  expect(credentials.map(({ id, status }) => [id, status])).toEqual([
    [second.credential.id, 'active'],
    [first.credential.id, 'revoked'],
  ]);
  expect(await listNatsAccounts(under.platform)).toEqual([scope]);
  const theirs = await under.request('GET', '/v1/credentials', { key: under.globex.apiKey });
  expect(theirs.body).toEqual({ credentials: [] });
});

test('what servers could not be told has not happened', async () => {
  const { scope } = under.globex;
  await expect(store().create(scope, request({ tellServers: fails }))).rejects.toThrow('no server');
  expect(await store().list(scope.environmentId)).toEqual([]);
  const { credential } = await store().create(scope, request());
  await expect(store().revoke(scope, credential.id, fails)).rejects.toThrow('no server');
  expect(await store().list(scope.environmentId)).toMatchObject([{ status: 'active' }]);
});

test('of changes at once servers hear last what is stored', async () => {
  const { scope } = under.globex;
  const made = await Promise.all(Array.from({ length: 6 }, () => store().create(scope, request())));
  told.length = 0;
  const tell = async (account: NatsAccount): Promise<void> => void told.push(account);
  await Promise.all([
    ...made.map(({ credential }) => store().revoke(scope, credential.id, tell)),
    store().create(scope, request()),
  ]);
  expect([...told.at(-1)!.revokedUsers].sort()).toEqual(
    made.map(({ credential }) => credential.publicKey).sort(),
  );
  expect(told.map(({ revokedUsers }) => revokedUsers.length)).toEqual(
    told.map(({ revokedUsers }) => revokedUsers.length).sort((one, other) => one - other),
  );
});

test('what cuts users off is told again in a later second, for servers that go by the second', async () => {
  const scratch = await createScratch('credentials');
  const installation = await createInstallation({ name: 'test', accountsFolder: './accounts' });
  const { signers, systemCredentials } = parseAccountsFile(JSON.stringify(installation.accounts));
  const nats = await startNatsServer({ storeDir: scratch.path, operator: installation.server });
  const resolver = await connectAccountResolver({ url: nats.url, name: 'test', creds: systemCredentials });
  const signedAt: number[] = [];
  const directNats = createDirectNats({
    accounts: store(),
    resolver: {
      ...resolver,
      push: async (token) => {
        signedAt.push(issuedAtOf(token));
        await resolver.push(token);
      },
    },
    ...{ signers, database: under.platform, clock: systemClock },
    logger: createLogger({ service: 'test', level: 'silent' }),
  });
  const place = { organization: 'initech', project: 'reports', env: 'prod' };
  const { scope } = await createTenantStore(under.platform, under.secrets).createEnvironment(place);
  try {
    const { credential } = await directNats.create(scope, { name: 'warehouse', expiresInSeconds: 3_600 });
    await directNats.revoke(scope, credential.id);
    expect(signedAt).toHaveLength(2);
    await eventually(() => expect(signedAt).toHaveLength(3));
    expect(signedAt[2]).toBeGreaterThan(signedAt[1]!);
    directNats.retell(scope);
    await eventually(() => expect(signedAt).toHaveLength(5));
    expect(signedAt[4]).toBeGreaterThan(signedAt[3]!);
  } finally {
    await directNats.stop();
    await nats.kill();
    await scratch.remove();
  }
}, 30_000);

function issuedAtOf(token: string): number {
  const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { iat: number };
  return claims.iat;
}

import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createApiKeyStore,
  createAuthenticator,
  createSigningKeyStore,
  createTenantStore,
  recordKeyUse,
} from './index.js';
import type { ApiKeyStore, EnvironmentCredentials } from './index.js';

let platform: Platform;
let keys: ApiKeyStore;
let made = 0;
let own: EnvironmentCredentials;
const admin = { role: 'admin', scopes: [] } as const;

beforeAll(async () => {
  platform = await createPlatform();
  keys = createApiKeyStore(platform.tenant, platform.secrets);
});
beforeEach(async () => {
  made += 1;
  const tenants = createTenantStore(platform.service, platform.secrets);
  own = await tenants.createEnvironment({ organization: 'acme', project: 'shop', env: `env-${made}` });
});
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const principalOf = (key: string) => createAuthenticator(platform.tenant, platform.secrets).authenticate(key);

test('a key is shown once, is live at once with its role and scopes, and belongs to its environment', async () => {
  const { environmentId } = own.scope;
  const { key, ...created } = await keys.create(environmentId, {
    name: 'ci',
    role: 'developer',
    scopes: ['apps:write', 'runs:read'],
  });
  expect(created).toMatchObject({ name: 'ci', status: 'live', replaced: false });
  expect(await principalOf(key)).toMatchObject({
    scope: own.scope,
    keyId: created.id,
    role: 'developer',
    scopes: ['apps:write', 'runs:read'],
  });
  const listed = await keys.list(environmentId);
  expect(listed.map(({ name }) => name)).toEqual(['ci', 'made with the environment or by an operator']);
  expect(listed[0]).toEqual(created);
  expect(JSON.stringify(listed)).not.toContain(key);
  const theirs = platform.theirs.scope.environmentId;
  expect(JSON.stringify(await keys.list(theirs))).not.toContain(created.id);
  expect(await keys.revoke(theirs, created.id)).toEqual({ kind: 'not_found' });
  expect(await keys.rotate(theirs, { id: created.id, overlapSeconds: 0, by: admin })).toEqual({
    kind: 'not_found',
  });
  expect(await principalOf(key)).toBeDefined();
});

test('a key that has scopes is refused by a build that does not ask for them', async () => {
  const created = await keys.create(own.scope.environmentId, {
    name: 'narrow',
    role: 'admin',
    scopes: ['runs:read'],
  });
  const hashes = await platform.admin.query<{ key_hash: Buffer; scopes: string[] }>(
    'select key_hash, scopes from api_keys where environment_id = $1 order by id',
    [own.scope.environmentId],
  );
  const answered = [];
  for (const { key_hash: hash } of hashes.rows) {
    const { rowCount } = await platform.admin.query('select 1 from authenticate_api_key($1)', [hash]);
    answered.push(rowCount);
  }
  expect(answered).toEqual([1, 0]);
  expect(await principalOf(created.key)).toMatchObject({ scopes: ['runs:read'] });
});

test('two keys are live while one takes the place of the other, and with no overlap one', async () => {
  const { environmentId } = own.scope;
  const [first] = await keys.list(environmentId);
  const rotated = await keys.rotate(environmentId, { id: first!.id, overlapSeconds: 3_600, by: admin });
  if (rotated.kind !== 'rotated') throw new Error(rotated.kind);
  expect(rotated.key).toMatchObject({ name: first!.name, role: 'admin', scopes: [], status: 'live' });
  expect(rotated.key.expiresAt).toBeUndefined();
  for (const key of [own.apiKey, rotated.key.key]) expect(await principalOf(key)).toBeDefined();
  const before = (await keys.list(environmentId)).find(({ id }) => id === first!.id)!;
  expect(before).toMatchObject({ status: 'live', replaced: true });
  expect(Date.parse(before.expiresAt!) - Date.now()).toBeGreaterThan(3_500_000);
  expect(Date.parse(before.expiresAt!) - Date.now()).toBeLessThan(3_700_000);

  const last = await keys.rotate(environmentId, { id: rotated.key.id, overlapSeconds: 0, by: admin });
  if (last.kind !== 'rotated') throw new Error(last.kind);
  expect(await principalOf(rotated.key.key)).toBeUndefined();
  expect(await principalOf(last.key.key)).toBeDefined();
  expect(await keys.rotate(environmentId, { id: rotated.key.id, overlapSeconds: 0, by: admin })).toEqual({
    kind: 'ended',
  });
});

test('a key that has expired is known no more', async () => {
  const { environmentId } = own.scope;
  const expiresAt = new Date(Date.now() + 60_000).toISOString();
  const created = await keys.create(environmentId, { name: 'short', role: 'viewer', scopes: [], expiresAt });
  expect(await principalOf(created.key)).toMatchObject({ keyId: created.id });
  await platform.admin.query(`update api_keys set expires_at = now() where id = $1`, [created.id]);
  expect(await principalOf(created.key)).toBeUndefined();
});

test('the overlap ends by itself, and never makes a key live longer than it was', async () => {
  const { environmentId } = own.scope;
  const expiresAt = new Date(Date.now() + 60_000).toISOString();
  const created = await keys.create(environmentId, { name: 'short', role: 'viewer', scopes: [], expiresAt });
  const rotated = await keys.rotate(environmentId, { id: created.id, overlapSeconds: 86_400, by: admin });
  if (rotated.kind !== 'rotated') throw new Error(rotated.kind);
  expect(rotated.key.expiresAt).toBe(expiresAt);
  expect((await keys.list(environmentId)).find(({ id }) => id === created.id)?.expiresAt).toBe(expiresAt);
  await platform.admin.query(`update api_keys set replaced_until = now() where id = $1`, [created.id]);
  expect(await principalOf(created.key)).toBeUndefined();
  await expect(
    keys.create(environmentId, {
      name: 'late',
      role: 'viewer',
      scopes: [],
      expiresAt: '2020-01-01T00:00:00Z',
    }),
  ).rejects.toMatchObject({ category: 'invalid', code: 'expiry_in_the_past', field: 'expiresAt' });
});

test('of two who revoke the last two admin keys at once one is refused', async () => {
  const { environmentId } = own.scope;
  await keys.create(environmentId, { name: 'second', role: 'admin', scopes: [] });
  const listed = await keys.list(environmentId);
  const outcomes = await Promise.all(listed.map(({ id }) => keys.revoke(environmentId, id)));
  expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['last_admin', 'revoked']);
  const ended = outcomes.find((outcome) => outcome.kind === 'revoked')!;
  expect(await keys.revoke(environmentId, ended.key.id)).toEqual(ended);
});

test('a revoked key is known no more once its environment is forgotten', async () => {
  const authenticator = createAuthenticator(platform.tenant, platform.secrets, { elapsedMs: () => 0 });
  const { environmentId } = own.scope;
  const created = await keys.create(environmentId, { name: 'gone', role: 'viewer', scopes: [] });
  expect(await authenticator.authenticate(created.key)).toBeDefined();
  await keys.revoke(environmentId, created.id);
  authenticator.forget(platform.theirs.scope.environmentId);
  expect(await authenticator.authenticate(created.key)).toBeDefined();
  authenticator.forget(environmentId);
  expect(await authenticator.authenticate(created.key)).toBeUndefined();
});

test('when a key was used is written by its id, across environments, once a minute', async () => {
  const ids = [];
  for (const { apiKey } of [own, platform.theirs]) ids.push((await principalOf(apiKey))!.keyId);
  await recordKeyUse(platform.tenant, ids);
  const used = (await keys.list(own.scope.environmentId))[0]!.lastUsedAt!;
  expect(Math.abs(Date.now() - Date.parse(used))).toBeLessThan(60_000);
  await recordKeyUse(platform.tenant, ids);
  expect((await keys.list(own.scope.environmentId))[0]!.lastUsedAt).toBe(used);
});

test('an environment has so many keys and no more', async () => {
  const { environmentId } = own.scope;
  await platform.admin.query(
    `insert into api_keys (id, environment_id, name, key_hash, role)
      select gen_random_uuid(), $1, 'filler', sha256(convert_to($2 || n, 'UTF8')), 'viewer' from generate_series(1, 99) n`,
    [environmentId, own.apiKey],
  );
  await expect(
    keys.create(environmentId, { name: 'beyond', role: 'viewer', scopes: [] }),
  ).rejects.toMatchObject({ category: 'conflict', code: 'too_many_keys' });
});

test('calls are signed with every signing key until its overlap has ended, and so many at most', async () => {
  const { environmentId } = own.scope;
  const tenants = createTenantStore(platform.service, platform.secrets);
  const signingKeys = createSigningKeyStore(platform.tenant, platform.secrets);
  const second = await signingKeys.rotate(environmentId, 3_600);
  expect(second).toMatchObject({ version: 2 });
  expect(await tenants.signingKeys(environmentId)).toEqual([second.signingKey, own.signingKey]);
  const listed = await signingKeys.list(environmentId);
  expect(listed.map(({ version, expiresAt }) => [version, expiresAt === undefined])).toEqual([
    [2, true],
    [1, false],
  ]);
  expect(JSON.stringify(listed)).not.toContain(second.signingKey);
  for (let version = 3; version <= 5; version += 1) await signingKeys.rotate(environmentId, 60);
  await expect(signingKeys.rotate(environmentId, 60)).rejects.toMatchObject({
    category: 'conflict',
    code: 'too_many_signing_keys',
  });
  const alone = await signingKeys.rotate(environmentId, 0);
  expect(await tenants.signingKeys(environmentId)).toHaveLength(2);
  tenants.forgetSigningKeys(environmentId);
  expect(await tenants.signingKeys(environmentId)).toEqual([alone.signingKey]);
});

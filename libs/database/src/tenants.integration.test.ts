import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createApiKey, createAuthenticator, createEnvelope, createTenantStore } from './index.js';

let platform: Platform;

beforeAll(async () => {
  platform = await createPlatform();
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

test('creating an environment again keeps it and makes another API key that works too', async () => {
  const tenants = createTenantStore(platform.service, platform.secrets);
  const path = { organization: 'acme', project: 'shop', env: 'prod' };
  const again = await tenants.createEnvironment(path);
  expect(again.scope).toEqual(platform.ours.scope);
  expect(again.signingKey).toBe(platform.ours.signingKey);
  expect(again.apiKey).not.toBe(platform.ours.apiKey);
  const authenticator = createAuthenticator(platform.tenant, platform.secrets);
  for (const key of [platform.ours.apiKey, again.apiKey]) {
    expect(await authenticator.authenticate(key)).toMatchObject({
      scope: platform.ours.scope,
      role: 'admin',
    });
  }
});

test('many who create the same environment at once create one', async () => {
  const tenants = createTenantStore(platform.service, platform.secrets);
  const path = { organization: 'new', project: 'new', env: 'dev' };
  const created = await Promise.all(Array.from({ length: 5 }, () => tenants.createEnvironment(path)));
  expect(new Set(created.map(({ scope }) => scope.environmentId)).size).toBe(1);
  expect(new Set(created.map(({ signingKey }) => signingKey)).size).toBe(1);
  expect(new Set(created.map(({ apiKey }) => apiKey)).size).toBe(5);
});

test('a project name belongs to one organization of the installation', async () => {
  const tenants = createTenantStore(platform.service, platform.secrets);
  await expect(
    tenants.createEnvironment({ organization: 'other', project: 'shop', env: 'dev' }),
  ).rejects.toMatchObject({ category: 'conflict', code: 'project_taken', field: 'project' });
});

test('names that would not fit into a subject are refused', async () => {
  const tenants = createTenantStore(platform.service, platform.secrets);
  await expect(
    tenants.createEnvironment({ organization: 'acme', project: 'a.b', env: 'dev' }),
  ).rejects.toMatchObject({
    category: 'invalid',
    code: 'slug_invalid',
    field: 'project',
    message: expect.stringMatching(/beginning and ending with a letter or digit/),
  });
});

test('an environment whose signing keys are all revoked gets a new one', async () => {
  const tenants = createTenantStore(platform.service, platform.secrets);
  const path = { organization: 'acme', project: 'shop', env: 'rotated' };
  const first = await tenants.createEnvironment(path);
  await platform.admin.query('update signing_keys set revoked_at = now() where environment_id = $1', [
    first.scope.environmentId,
  ]);
  const second = await tenants.createEnvironment(path);
  expect(second.signingKey).not.toBe(first.signingKey);
  expect(await tenants.signingKeys(first.scope.environmentId)).toEqual([second.signingKey]);
});

test('keys belong to their environment; unknown, altered, revoked, expired and replaced ones to nobody', async () => {
  const authenticator = createAuthenticator(platform.tenant, platform.secrets);
  const { apiKey } = platform.theirs;
  expect(await authenticator.authenticate(apiKey)).toMatchObject({
    scope: platform.theirs.scope,
    scopes: [],
  });
  expect(await authenticator.authenticate(createApiKey(randomBytes(32)))).toBeUndefined();
  expect(
    await authenticator.authenticate(`${apiKey.slice(0, -1)}${apiKey.endsWith('0') ? '1' : '0'}`),
  ).toBeUndefined();
  expect(await authenticator.authenticate('')).toBeUndefined();
  const otherPepper = createEnvelope(randomBytes(32).toString('base64'));
  expect(await createAuthenticator(platform.tenant, otherPepper).authenticate(apiKey)).toBeUndefined();

  const tenants = createTenantStore(platform.service, platform.secrets);
  for (const change of ['revoked_at = now()', 'expires_at = now()', 'replaced_until = now()']) {
    const fresh = await tenants.createEnvironment({ organization: 'acme', project: 'shop', env: 'dev' });
    const principal = await createAuthenticator(platform.tenant, platform.secrets).authenticate(fresh.apiKey);
    await platform.admin.query(`update api_keys set ${change} where id = $1`, [principal!.keyId]);
    expect(
      await createAuthenticator(platform.tenant, platform.secrets).authenticate(fresh.apiKey),
    ).toBeUndefined();
  }
});

test('revoking a key takes effect within ten seconds', async () => {
  let elapsedMs = 0;
  const authenticator = createAuthenticator(platform.tenant, platform.secrets, {
    elapsedMs: () => elapsedMs,
  });
  const tenants = createTenantStore(platform.service, platform.secrets);
  const { apiKey } = await tenants.createEnvironment({ organization: 'acme', project: 'shop', env: 'dev' });
  const principal = await authenticator.authenticate(apiKey);
  await platform.admin.query('update api_keys set revoked_at = now() where id = $1', [principal!.keyId]);
  elapsedMs = 9_999;
  expect(await authenticator.authenticate(apiKey)).toBe(principal);
  elapsedMs = 10_000;
  expect(await authenticator.authenticate(apiKey)).toBeUndefined();
});

test('signing keys are read in plain, newest first, and lie sealed in the database', async () => {
  const tenants = createTenantStore(platform.service, platform.secrets);
  const { environmentId } = platform.ours.scope;
  expect(platform.ours.signingKey).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  expect(await tenants.signingKeys(environmentId)).toEqual([platform.ours.signingKey]);
  expect(await tenants.signingKeys(platform.theirs.scope.environmentId)).toEqual([
    platform.theirs.signingKey,
  ]);
  const { rows } = await platform.admin.query<{ sealed: Buffer }>('select sealed from signing_keys');
  for (const { sealed } of rows) expect(sealed.includes('whsec_')).toBe(false);
  const stored = await platform.admin.query<{ key_hash: Buffer }>('select key_hash from api_keys');
  for (const { key_hash: hash } of stored.rows) expect(hash).toHaveLength(32);
});

test('a signing key that was copied into another environment does not open there', async () => {
  const { environmentId } = platform.ours.scope;
  await platform.admin.query(
    `update signing_keys s set sealed = o.sealed from signing_keys o
      where s.environment_id = $1 and o.environment_id = $2`,
    [environmentId, platform.theirs.scope.environmentId],
  );
  const tenants = createTenantStore(platform.service, platform.secrets);
  await expect(tenants.signingKeys(environmentId)).rejects.toMatchObject({ code: 'secret_unreadable' });
});

import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createAuthenticator,
  createEnvelope,
  createSecretStore,
  createTenantStore,
  openEnvelope,
  rewrapKeys,
} from './index.js';
import type { Secrets } from './index.js';

let platform: Platform;
let old: string;
const fresh = randomBytes(32).toString('base64');

beforeEach(async () => {
  platform = await createPlatform();
  old = platform.masterKey;
});
afterEach(() => platform.close());
afterAll(() => stopSharedServers());

const storeOf = (secrets: Secrets) =>
  createSecretStore({ database: platform.tenant, platformDatabase: platform.service, secrets });
const isAccepted = async (secrets: Secrets): Promise<boolean> =>
  (await createAuthenticator(platform.tenant, secrets).authenticate(platform.ours.apiKey)) !== undefined;

test('a master key is replaced step by step, and at each of them keys, secrets and signing keys are what they were', async () => {
  const ours = platform.ours.scope.environmentId;
  await storeOf(platform.secrets).set(ours, { name: 'KEPT', value: 'the same' });
  // As services are given it, one after the other.
  for (const masterKeys of [old, `${old},${fresh}`, `${fresh}, ${old}`]) {
    const secrets = await openEnvelope(platform.tenant, masterKeys);
    expect(await isAccepted(secrets)).toBe(true);
    expect(await storeOf(secrets).values(ours, ['KEPT'])).toMatchObject([{ value: 'the same' }]);
  }
  const both = `${fresh},${old}`;
  const later = await createTenantStore(
    platform.service,
    await openEnvelope(platform.service, both),
  ).createEnvironment({ organization: 'acme', project: 'later', env: 'prod' });
  await expect(openEnvelope(platform.tenant, fresh)).rejects.toMatchObject({ code: 'secret_unreadable' });
  // The one that was made since is wrapped by the new one already.
  expect(await rewrapKeys(platform.service, both)).toEqual({ dataKeys: 2, platformKeys: 2, unreadable: 0 });
  expect(await rewrapKeys(platform.service, both)).toEqual({ dataKeys: 0, platformKeys: 0, unreadable: 0 });
  const secrets = await openEnvelope(platform.tenant, fresh);
  expect(await isAccepted(secrets)).toBe(true);
  expect(await storeOf(secrets).values(ours, ['KEPT'])).toMatchObject([{ value: 'the same' }]);
  const tenants = createTenantStore(platform.service, secrets);
  expect(await tenants.signingKeys(ours)).toEqual([platform.ours.signingKey]);
  expect(await tenants.signingKeys(later.scope.environmentId)).toEqual([later.signingKey]);
  await expect(openEnvelope(platform.tenant, old)).rejects.toMatchObject({ code: 'secret_unreadable' });
});

test('what API keys are hashed with is that of before, whichever master key is first as it is kept', async () => {
  const secrets = await openEnvelope(platform.tenant, `${fresh},${old}`);
  expect(secrets.apiKeyPepper).toEqual(createEnvelope(old).apiKeyPepper);
  expect(secrets.approvalPepper).toEqual(createEnvelope(old).approvalPepper);
});

test('a process with a master key of another installation keeps nothing and does not start', async () => {
  await expect(openEnvelope(platform.tenant, fresh)).rejects.toMatchObject({ code: 'secret_unreadable' });
  const { rows } = await platform.admin.query('select 1 from platform_keys');
  expect(rows).toEqual([]);
});

test('processes that start at once agree', async () => {
  const all = await Promise.all(
    Array.from({ length: 6 }, (_unused, index) =>
      openEnvelope(index % 2 === 0 ? platform.tenant : platform.service, old),
    ),
  );
  for (const { apiKeyPepper } of all) expect(apiKeyPepper).toEqual(all[0]!.apiKeyPepper);
});

test('a data key of an unknown master key is left as it is, counted, and in nobody’s way', async () => {
  await platform.admin.query(
    `update environment_data_keys set master_key_id = 'lost' where environment_id = $1`,
    [platform.theirs.scope.environmentId],
  );
  const first = await platform.admin.query<{ id: string }>(
    `select master_key_id as id from environment_data_keys where master_key_id <> 'lost'`,
  );
  await platform.admin.query(
    `update environment_data_keys set created_at = now() + interval '1 day' where master_key_id = 'lost'`,
  );
  expect(await rewrapKeys(platform.service, `${fresh},${old}`)).toMatchObject({ dataKeys: 1, unreadable: 1 });
  const { rows } = await platform.admin.query<{ id: string }>(
    'select distinct master_key_id as id from environment_data_keys',
  );
  expect(rows.map(({ id }) => id)).toContain('lost');
  expect(rows.map(({ id }) => id)).not.toContain(first.rows[0]!.id);
});

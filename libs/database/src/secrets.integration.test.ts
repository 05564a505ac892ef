import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { limits } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { sealedTables } from './data-keys.js';
import {
  createSecretStore,
  createSigningKeyStore,
  createTenantStore,
  createWebhookStore,
  findWebhookSources,
} from './index.js';
import type { SecretStore } from './index.js';

let platform: Platform;
let store: SecretStore;
let ours: string;
let theirs: string;

beforeAll(async () => {
  platform = await createPlatform();
  const { tenant: database, service: platformDatabase, secrets } = platform;
  store = createSecretStore({ database, platformDatabase, secrets });
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const valueOf = async (environmentId: string, name: string) =>
  (await store.values(environmentId, [name]))[0]?.value;

test('the newest version is read, and as many as are kept are listed, the newest first', async () => {
  for (let version = 1; version <= limits.secretVersionsKept + 2; version += 1) {
    await store.set(ours, { name: 'OFTEN', value: `value ${version}` });
  }
  const newest = limits.secretVersionsKept + 2;
  const secret = await store.get(ours, 'OFTEN');
  expect(secret).toMatchObject({ name: 'OFTEN', version: newest });
  expect(secret!.versions.map(({ version }) => version)).toEqual([7, 6, 5, 4, 3]);
  expect(await store.values(ours, ['OFTEN', 'OFTEN', 'ABSENT'])).toEqual([
    { name: 'OFTEN', version: newest, value: `value ${newest}` },
  ]);
});

test('versions set at once are all there, one after the other', async () => {
  const set = await Promise.all(
    Array.from({ length: 5 }, (_, index) => store.set(ours, { name: 'RACED', value: `v${index}` })),
  );
  expect(set.map(({ version }) => version).sort()).toEqual([1, 2, 3, 4, 5]);
});

test('what is stored is sealed, and does not open as another name, version or environment', async () => {
  await store.set(ours, { name: 'SEALED', value: 'a value of ours' });
  await store.set(ours, { name: 'MOVED', value: 'another' });
  await store.set(theirs, { name: 'SEALED', value: 'theirs' });
  const { rows } = await platform.admin.query<{ sealed: Buffer }>(
    `select sealed from secrets where environment_id = $1 and name = 'SEALED'`,
    [ours],
  );
  expect(rows[0]!.sealed.includes('a value of ours')).toBe(false);
  for (const [environmentId, name] of [
    [ours, 'MOVED'],
    [theirs, 'SEALED'],
  ] as const) {
    await platform.admin.query('update secrets set sealed = $3 where environment_id = $1 and name = $2', [
      environmentId,
      name,
      rows[0]!.sealed,
    ]);
    await expect(store.values(environmentId, [name])).rejects.toMatchObject({ code: 'secret_unreadable' });
    await store.delete(environmentId, name);
  }
});

test('a neighbour sees neither name nor value, and deletes nothing', async () => {
  await store.set(ours, { name: 'PRIVATE', value: 'ours alone' });
  expect(await store.get(theirs, 'PRIVATE')).toBeUndefined();
  expect(await store.values(theirs, ['PRIVATE'])).toEqual([]);
  expect(await store.delete(theirs, 'PRIVATE')).toBe(false);
  expect(await valueOf(ours, 'PRIVATE')).toBe('ours alone');
  expect(await store.delete(ours, 'PRIVATE')).toBe(true);
  expect(await store.get(ours, 'PRIVATE')).toBeUndefined();
});

test('the role of tenants reads no sealed value but by the function that is for it', async () => {
  await expect(
    platform.tenant.inEnvironment(ours, (transaction) =>
      transaction.query({ name: '', text: 'select sealed from secrets' }, []),
    ),
  ).rejects.toMatchObject({ code: '42501' });
});

test('there is room for so many names, and for new versions of those', async () => {
  await platform.admin.query(
    `insert into secrets (environment_id, name, version, data_key_version, sealed)
      select $1, 'FILL_' || n, 1, 1, '' from generate_series(1, $2) n`,
    [theirs, limits.secretsMax],
  );
  await expect(store.set(theirs, { name: 'ONE_MORE', value: 'x' })).rejects.toMatchObject({
    code: 'too_many_secrets',
  });
  expect(await store.set(theirs, { name: 'FILL_1', value: 'x' })).toMatchObject({ version: 2 });
  await platform.admin.query('delete from secrets where environment_id = $1', [theirs]);
});

test('every table that refers to data keys is one that a rotation seals anew', async () => {
  const { rows } = await platform.admin.query<{ name: string }>(
    `select conrelid::regclass::text as name from pg_constraint
      where contype = 'f' and confrelid = 'environment_data_keys'::regclass order by 1`,
  );
  expect(rows.map(({ name }) => name)).toEqual(sealedTables.map(({ table }) => table).sort());
});

test('a rotation seals all of the environment with a new key, changes no value and nothing of a neighbour', async () => {
  const { tenant, service, secrets } = platform;
  const webhooks = createWebhookStore(tenant, secrets);
  const hook = await webhooks.create(ours, { id: 'hub', provider: 'github', headers: [] });
  const keysOf = async () => {
    const [source] = await findWebhookSources(tenant, secrets, [hook.path.split('/').at(-1)!]);
    return source!.keys();
  };
  const [before] = await keysOf();
  await store.set(theirs, { name: 'STAYS', value: 'theirs' });
  await store.set(ours, { name: 'TURNED', value: 'the same' });
  for (const version of [2, 3]) {
    const sealed = await sealedCount(ours);
    expect(await store.rotateDataKey(ours)).toEqual({ version, resealed: sealed });
    expect(await valueOf(ours, 'TURNED')).toBe('the same');
    expect((await keysOf())[0]).toEqual(before);
    // Its cache is its own: this one asks.
    expect(await createTenantStore(service, secrets).signingKeys(ours)).toEqual([platform.ours.signingKey]);
  }
  expect(await valueOf(theirs, 'STAYS')).toBe('theirs');
  const { rows } = await platform.admin.query(
    'select version from environment_data_keys where environment_id = $1 order by 1',
    [ours],
  );
  // The one before is there for who has just read what it sealed.
  expect(rows).toEqual([{ version: 2 }, { version: 3 }]);
});

test('what is set while a key is rotated is sealed with the new one, whichever comes first', async () => {
  for (let round = 0; round < 5; round += 1) {
    const [rotated] = await Promise.all([
      store.rotateDataKey(ours),
      ...Array.from({ length: 8 }, (_, index) =>
        store.set(ours, { name: `BUSY_${index}`, value: `of ${round}` }),
      ),
    ]);
    const { rows } = await platform.admin.query(
      'select 1 from secrets where environment_id = $1 and data_key_version <> $2',
      [ours, rotated.version],
    );
    expect(rows).toEqual([]);
    expect(await valueOf(ours, 'BUSY_7')).toBe(`of ${round}`);
  }
});

async function sealedCount(environmentId: string): Promise<number> {
  const counts = await Promise.all(
    sealedTables.map(({ table }) =>
      platform.admin.query<{ count: number }>(
        `select count(*)::int from ${table} where environment_id = $1`,
        [environmentId],
      ),
    ),
  );
  return counts.reduce((sum, { rows }) => sum + rows[0]!.count, 0);
}

test('keys and secrets are rotated while the data key is, and neither waits for the other for ever', async () => {
  const { tenant, service, secrets } = platform;
  const webhooks = createWebhookStore(tenant, secrets);
  const signingKeys = createSigningKeyStore(tenant, secrets);
  await webhooks.create(ours, { id: 'rotated', provider: 'github', headers: [] });
  for (let round = 0; round < 40; round += 1) {
    await Promise.all([
      store.rotateDataKey(ours),
      webhooks.rotate(ours, 'rotated', { graceSeconds: 0 }),
      signingKeys.rotate(ours, 0),
      store.set(ours, { name: 'ROTATED', value: String(round) }),
    ]);
  }
  expect(await valueOf(ours, 'ROTATED')).toBe('39');
  const [source] = await webhooks.list(ours).then((list) => list.filter(({ id }) => id === 'rotated'));
  expect(source!.secrets).toHaveLength(1);
  const [signingKey] = await createTenantStore(service, secrets).signingKeys(ours);
  expect(signingKey).toMatch(/^whsec_/);
});

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, functionConfig, manifest, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createApprovalStore,
  createAuthenticator,
  createCronStore,
  createOperatorKey,
  createOperatorKeyStore,
  createRegistryReader,
  createTenantAdmin,
  createWebhookStore,
  findWebhookSources,
  listEnvironments,
  registerApp,
} from './index.js';
import type { TenantAdmin } from './index.js';

let platform: Platform;
let tenants: TenantAdmin;
beforeAll(async () => {
  platform = await createPlatform();
  tenants = createTenantAdmin(platform.service, platform.secrets);
});
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const asked = { environments: ['prod', 'staging'], newKeys: false };
const principalOf = (key: string) => createAuthenticator(platform.tenant, platform.secrets).authenticate(key);
const environmentIdOf = async (apiKey: string) => (await principalOf(apiKey))!.scope.environmentId;

test('one call makes everything, with keys that work, and asked again keeps all and makes none', async () => {
  const created = await tenants.create({ project: 'first', ...asked });
  expect(created).toMatchObject({ organization: 'first', project: 'first' });
  expect(created.environments.map(({ env, state, created: isNew }) => [env, state, isNew])).toEqual([
    ['prod', 'active', true],
    ['staging', 'active', true],
  ]);
  for (const { env, apiKey } of created.environments) {
    expect(await principalOf(apiKey!)).toMatchObject({ scope: { project: 'first', env }, role: 'admin' });
  }
  const again = await tenants.create({ project: 'first', ...asked, environments: ['prod', 'dev'] });
  expect(again.environments).toEqual([
    { env: 'prod', state: 'active', created: false },
    {
      env: 'dev',
      state: 'active',
      created: true,
      apiKey: expect.any(String),
      signingKey: expect.any(String),
    },
  ]);
  const renewed = await tenants.create({ project: 'first', ...asked, newKeys: true });
  const [prod] = renewed.environments;
  expect(prod).toMatchObject({ created: false, signingKey: created.environments[0]!.signingKey });
  expect(prod!.apiKey).not.toBe(created.environments[0]!.apiKey);
  for (const key of [prod!.apiKey!, created.environments[0]!.apiKey!])
    expect(await principalOf(key)).toBeDefined();
});

test('of a call that cannot be done whole nothing is done', async () => {
  await tenants.create({ project: 'mine', ...asked });
  await expect(
    tenants.create({ organization: 'others', project: 'mine', ...asked, environments: ['qa'] }),
  ).rejects.toMatchObject({ category: 'conflict', code: 'project_taken' });
  expect((await tenants.get('mine'))?.environments.map(({ env }) => env)).toEqual(['prod', 'staging']);
  expect(await tenants.get('nobodys')).toBeUndefined();
});

test('they are listed in pages, newest first, and by their state', async () => {
  await tenants.create({ project: 'paged', ...asked, environments: ['a', 'b', 'c'] });
  await tenants.archive({ project: 'paged', env: 'b' });
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await tenants.list({ limit: 2, cursor });
    seen.push(...page.tenants.map(({ project, env }) => `${project}/${env}`));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  expect(seen.slice(0, 3)).toEqual(['paged/c', 'paged/b', 'paged/a']);
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen).toEqual(expect.arrayContaining(['shop/prod', 'bank/prod']));
  expect((await tenants.list({ limit: 50, state: 'archived' })).tenants.map(({ env }) => env)).toEqual(['b']);
});

test('archived, its keys are known and may do nothing, no run begins, nothing fires and no door is open; restored, all is as before', async () => {
  const created = await tenants.create({ project: 'sleepy', ...asked, environments: ['prod'] });
  const { apiKey } = created.environments[0]!;
  const environmentId = await environmentIdOf(apiKey!);
  const place = { project: 'sleepy', env: 'prod' };
  const hourly = functionConfig('hourly', [{ cron: '0 * * * *', timezone: 'UTC' }]);
  await registerApp(platform.tenant, environmentId, manifest({ functions: [hourly] }));
  const webhook = await createWebhookStore(platform.tenant, platform.secrets).create(environmentId, {
    id: 'hub',
    provider: 'github',
    headers: [],
  });
  const address = webhook.path.split('/').at(-1)!;
  const sourceStatus = async () =>
    (await findWebhookSources(platform.tenant, platform.secrets, [address]))[0]?.status;
  const scope = { environmentId, ...place };
  const [run] = await startRuns(platform, scope, 1);
  const approvals = createApprovalStore(platform.tenant, platform.secrets);
  const approval = { runId: run!.id, name: 'manager' };
  const link = await approvals.createLink(environmentId, approval, randomBytes(32));
  if (link.kind !== 'created') throw new Error(link.kind);
  const isLinked = async () => (await approvals.findLink(link.token)) !== undefined;
  const cron = createCronStore(platform.service);
  const schedule = (await cron.schedules()).find(({ scope }) => scope.environmentId === environmentId)!;
  const mayFire = async (): Promise<boolean[]> => {
    const nowMs = await platform.service.now();
    return cron.mayFire([{ schedule, scheduledAtMs: nowMs, dueAtMs: nowMs }]);
  };
  const isPaused = async () => (await createRegistryReader(platform.service).get(environmentId)).paused;
  const doors = async () => [await mayFire(), await isPaused(), await sourceStatus(), await isLinked()];
  expect(await doors()).toEqual([[true], false, 'active', true]);

  const archived = await tenants.archive(place);
  expect(archived).toMatchObject({
    kind: 'done',
    environmentId,
    tenant: { state: 'archived' },
    registryVersion: 2,
  });
  expect(await tenants.archive(place)).toEqual(archived);
  expect(await principalOf(apiKey!)).toMatchObject({ archived: true });
  expect(await doors()).toEqual([[false], true, 'paused', false]);
  await expect(registerApp(platform.tenant, environmentId, manifest())).rejects.toMatchObject({
    code: 'environment_archived',
  });

  expect(await tenants.restore(place)).toMatchObject({ tenant: { state: 'active' }, registryVersion: 3 });
  expect(await principalOf(apiKey!)).toMatchObject({ archived: false });
  expect(await doors()).toEqual([[true], false, 'active', true]);
  // What came up meanwhile is settled.
  const { beginsAtMs } = (await cron.schedules()).find(({ scope }) => scope.environmentId === environmentId)!;
  expect(Math.abs(beginsAtMs - (await platform.service.now()))).toBeLessThan(60_000);
});

test('deleted it is archived, can be restored within its grace of an hour at least, and not after', async () => {
  await tenants.create({ project: 'leaving', ...asked, environments: ['prod'] });
  const place = { project: 'leaving', env: 'prod' };
  const graceOf = async (days: number): Promise<number> => {
    const outcome = await tenants.delete(place, days);
    if (outcome.kind !== 'done') throw new Error(outcome.kind);
    expect(outcome.tenant.state).toBe('deleting');
    return Date.parse(outcome.tenant.eraseAfter!) - Date.now();
  };
  expect(await graceOf(30)).toBeGreaterThan(29.9 * 86_400_000);
  const shortest = await graceOf(0);
  expect(shortest).toBeGreaterThan(50 * 60_000);
  expect(shortest).toBeLessThan(61 * 60_000);
  expect(await tenants.restore(place)).toMatchObject({ tenant: { state: 'active' } });
  await tenants.delete(place, 30);
  await platform.admin.query(`update environments set erase_after = now() where project = 'leaving'`);
  expect(await tenants.restore(place)).toEqual({ kind: 'ended' });
  expect(await tenants.delete(place, 30)).toEqual({ kind: 'ended' });
  expect(await tenants.archive({ project: 'leaving', env: 'nobodys' })).toEqual({ kind: 'not_found' });
});

test('the name of one that was erased means no other, and it is announced to nobody', async () => {
  await tenants.create({ project: 'erased', ...asked, environments: ['prod'] });
  await platform.admin.query(
    `update environments set archived_at = now(), erase_after = now(), erased_at = now() where project = 'erased'`,
  );
  await expect(tenants.create({ project: 'erased', ...asked })).rejects.toMatchObject({
    code: 'tenant_ended',
  });
  const announced = (await listEnvironments(platform.service)).map(({ scope }) => scope.project);
  expect(announced).not.toContain('erased');
  expect((await tenants.list({ limit: 200 })).tenants.map(({ project }) => project)).not.toContain('erased');
  expect((await tenants.get('erased'))?.environments).toMatchObject([{ env: 'prod', state: 'erased' }]);
});

test('keys of operators are shown once, end when they are revoked or expire, and the tenants’ role sees none', async () => {
  const operatorKeys = createOperatorKeyStore(platform.service, platform.secrets);
  const { key, ...created } = await operatorKeys.create({ name: 'ops' });
  expect(key).toMatch(/^ifo_[0-9A-Za-z]{49}$/);
  expect(await operatorKeys.authenticate(key)).toEqual({ id: created.id, name: 'ops' });
  expect(await operatorKeys.list()).toEqual([created]);
  expect(await operatorKeys.authenticate(createOperatorKey(randomBytes(32)))).toBeUndefined();
  expect(await operatorKeys.authenticate(platform.ours.apiKey)).toBeUndefined();
  expect(await principalOf(key)).toBeUndefined();
  await expect(createOperatorKeyStore(platform.tenant, platform.secrets).list()).rejects.toMatchObject({
    code: '42501',
  });
  expect(await operatorKeys.revoke(created.id)).toMatchObject({ status: 'revoked' });
  expect(await operatorKeys.authenticate(key)).toBeUndefined();
  const brief = await operatorKeys.create({
    name: 'brief',
    expiresAt: new Date(Date.now() + 60_000).toISOString(),
  });
  await platform.admin.query('update operator_keys set expires_at = now() where id = $1', [brief.id]);
  expect(await operatorKeys.authenticate(brief.key)).toBeUndefined();
});

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { routes } from '@ironflow/schema';
import type { CreatedTenant } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { newId, startApiUnderTest } from './testing/api-under-test.js';
import type { Answer, ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  // What is known of a key is trusted until somebody tells of it.
  under = await startApiUnderTest({ heartbeatMs: 3_600_000, elapsedMs: () => 0 });
}, 60_000);
afterAll(() => under.stop());

const ask = (method: string, path: string, body?: unknown, key = under.operatorKey): Promise<Answer> =>
  under.request(method, path, { key, body });

async function make(body: Record<string, unknown>): Promise<CreatedTenant> {
  const answer = await ask('POST', '/v1/tenants', body);
  expect(answer.status).toBe(201);
  return routes.createTenant.answers[201].schema.parse(answer.body);
}

test('from nothing to an environment whose key works is one call', async () => {
  const { organization, environments } = await make({ project: 'zero' });
  expect(organization).toBe('zero');
  expect(environments.map(({ env }) => env)).toEqual(['prod', 'staging']);
  for (const { env, apiKey } of environments) {
    expect((await ask('GET', '/v1/me', undefined, apiKey)).body).toEqual({
      project: 'zero',
      env,
      role: 'admin',
    });
    expect(under.logged()).not.toContain(apiKey!);
  }
  const again = await ask('POST', '/v1/tenants', { project: 'zero' });
  expect(again.status).toBe(200);
  expect(JSON.stringify(again.body)).not.toContain('ifk_');
  expect(await ask('POST', '/v1/tenants', { project: 'zero', organization: 'other' })).toMatchObject({
    status: 409,
    body: { error: { code: 'project_taken' } },
  });
  expect(await ask('POST', '/v1/tenants', { project: 'Zero' })).toMatchObject({
    status: 400,
    body: { error: { field: 'project' } },
  });
  const shown = await ask('GET', '/v1/tenants/zero');
  expect(routes.getTenant.answers[200].schema.parse(shown.body).environments).toHaveLength(2);
  const list = routes.listTenants.answers[200].schema.parse((await ask('GET', '/v1/tenants?limit=2')).body);
  expect(list.tenants.map(({ env }) => env)).toEqual(['staging', 'prod']);
  expect(await ask('GET', '/v1/tenants/nobodys')).toMatchObject({ status: 404 });
});

test('no key of an environment manages tenants, and no key of an operator reaches into one', async () => {
  expect(await ask('GET', '/v1/tenants', undefined, under.acme.apiKey)).toMatchObject({
    status: 403,
    body: { error: { code: 'role_insufficient' } },
  });
  for (const key of ['', 'nonsense', `ifo_${'0'.repeat(49)}`]) {
    expect(await ask('GET', '/v1/tenants', undefined, key)).toMatchObject({
      status: 401,
      body: { error: { code: 'operator_key_invalid' } },
    });
  }
  expect(await ask('GET', '/v1/runs')).toMatchObject({
    status: 403,
    body: { error: { code: 'role_insufficient', message: expect.stringContaining('operator') } },
  });
});

test('archived, an environment refuses its keys at once; restored, they are good again', async () => {
  const { environments } = await make({ project: 'resting', environments: ['prod', 'dev'] });
  const [prod, dev] = environments.map(({ apiKey }) => apiKey!);
  expect((await ask('GET', '/v1/me', undefined, prod)).status).toBe(200);
  const archived = await ask('POST', '/v1/tenants/resting/prod/archive');
  expect(archived).toMatchObject({
    status: 200,
    body: { state: 'archived', archivedAt: expect.any(String) },
  });
  await eventually(async () =>
    expect(await ask('GET', '/v1/me', undefined, prod)).toMatchObject({
      status: 403,
      body: { error: { code: 'environment_archived' } },
    }),
  );
  expect((await ask('GET', '/v1/me', undefined, dev)).status).toBe(200);
  expect(await ask('POST', '/v1/tenants/resting/prod/restore')).toMatchObject({ body: { state: 'active' } });
  await eventually(async () => expect((await ask('GET', '/v1/me', undefined, prod)).status).toBe(200));
  for (const what of ['nobodys/prod', 'resting/nobodys']) {
    expect(await ask('POST', `/v1/tenants/${what}/archive`)).toMatchObject({
      status: 404,
      body: { error: { code: 'tenant_not_found' } },
    });
  }
});

test('deleted, it says until when it can be restored; the shortest grace is an hour', async () => {
  const { environments } = await make({ project: 'going', environments: ['prod'] });
  const deleted = await ask('DELETE', '/v1/tenants/going/prod');
  const tenant = routes.deleteTenant.answers[200].schema.parse(deleted.body);
  expect(tenant.state).toBe('deleting');
  expect(Math.round((Date.parse(tenant.eraseAfter!) - Date.now()) / 86_400_000)).toBe(30);
  await eventually(async () =>
    expect((await ask('GET', '/v1/me', undefined, environments[0]!.apiKey)).status).toBe(403),
  );
  expect(await ask('DELETE', '/v1/tenants/going/prod?graceDays=1000')).toMatchObject({
    status: 400,
    body: { error: { field: 'graceDays' } },
  });
  await under.platform.prisma.environment.updateMany({
    where: { projectSlug: 'going' },
    data: { eraseAfter: new Date() },
  });
  expect(await ask('POST', '/v1/tenants/going/prod/restore')).toMatchObject({
    status: 409,
    body: { error: { code: 'tenant_ended' } },
  });
});

test('an operator makes keys for others, which end when they are revoked', async () => {
  const answer = await ask('POST', '/v1/operator-keys', { name: 'second' });
  const { key, id } = routes.createOperatorKey.answers[201].schema.parse(answer.body);
  expect((await ask('GET', '/v1/tenants', undefined, key)).status).toBe(200);
  const list = await ask('GET', '/v1/operator-keys', undefined, key);
  expect(routes.listOperatorKeys.answers[200].schema.parse(list.body).operatorKeys).toMatchObject([
    { id, name: 'second', status: 'live' },
  ]);
  expect(JSON.stringify(list)).not.toContain(key);
  expect((await ask('DELETE', `/v1/operator-keys/${newId()}`)).status).toBe(404);
  expect(await ask('DELETE', `/v1/operator-keys/${id}`)).toMatchObject({ body: { status: 'revoked' } });
  expect((await ask('GET', '/v1/tenants', undefined, key)).status).toBe(401);
  expect(under.logged()).not.toContain(key);
});

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { hashApiKey } from '@ironflow/database';
import { routes } from '@ironflow/schema';
import type { CreatedKey } from '@ironflow/schema';
import { createKeyAccess, createLogger } from '@ironflow/service';
import { createManualClock, eventually } from '@ironflow/testing';
import { newId, startApiUnderTest } from './testing/api-under-test.js';
import type { Answer, ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  // What is known of a key is trusted until somebody tells of it: nothing here waits for the cache to end.
  under = await startApiUnderTest({ heartbeatMs: 3_600_000, elapsedMs: () => 0 });
}, 60_000);
afterAll(() => under.stop());

function created(answer: Answer): CreatedKey {
  expect(answer.status).toBe(201);
  return routes.createKey.answers[201].schema.parse(answer.body);
}

async function create(body: Record<string, unknown>, key = under.acme.apiKey): Promise<Answer> {
  return under.request('POST', '/v1/keys', { body: { name: 'test', ...body }, key });
}

test('a key is shown once and does what its role and scopes say', async () => {
  const { key, ...made } = created(await create({ role: 'developer', scopes: ['runs:read', 'runs:read'] }));
  expect(made).toMatchObject({ name: 'test', role: 'developer', scopes: ['runs:read'], status: 'live' });
  expect((await under.request('GET', '/v1/runs', { key })).status).toBe(200);
  expect(await under.request('GET', '/v1/functions', { key })).toMatchObject({
    status: 403,
    body: { error: { code: 'scope_missing' } },
  });
  const list = await under.request('GET', '/v1/keys');
  expect(routes.listKeys.answers[200].schema.parse(list.body).keys).toContainEqual(made);
  expect(JSON.stringify(list)).not.toContain(key);
  expect(under.logged()).not.toContain(key);
});

test('a key gives no more than it has, by making one or by taking the place of one', async () => {
  const narrow = created(await create({ role: 'admin', scopes: ['keys:write', 'runs:read'] }));
  const refused = { status: 403, body: { error: { code: 'grant_exceeds_key' } } };
  expect(await create({ role: 'viewer' }, narrow.key)).toMatchObject(refused);
  expect(await create({ role: 'viewer', scopes: ['events:read'] }, narrow.key)).toMatchObject(refused);
  created(await create({ role: 'viewer', scopes: ['runs:read'] }, narrow.key));
  const full = created(await create({ role: 'admin' }));
  const rotate = (id: string) =>
    under.request('POST', `/v1/keys/${id}/rotate`, { key: narrow.key, body: {} });
  expect(await rotate(full.id)).toMatchObject(refused);
  expect((await rotate(narrow.id)).status).toBe(201);
});

test('what is asked for wrongly is refused by name', async () => {
  const broken: [Record<string, unknown>, string][] = [
    [{ role: 'owner' }, 'role'],
    [{ role: 'viewer', scopes: ['everything'] }, 'scopes[0]'],
    [{ role: 'viewer', name: '' }, 'name'],
    [{ role: 'viewer', expiresAt: '2020-01-01T00:00:00Z' }, 'expiresAt'],
  ];
  for (const [body, field] of broken) {
    expect(await create(body)).toMatchObject({ status: 400, body: { error: { field } } });
  }
});

test('while a key takes the place of another both are good; with no overlap the one before ends at once', async () => {
  const first = created(await create({ role: 'viewer' }));
  const rotated = await under.request('POST', `/v1/keys/${first.id}/rotate`, {
    body: { overlapSeconds: 60 },
  });
  const second = routes.rotateKey.answers[201].schema.parse(rotated.body);
  for (const { key } of [first, second]) {
    expect((await under.request('GET', '/v1/me', { key })).status).toBe(200);
  }
  await under.request('POST', `/v1/keys/${second.id}/rotate`, { body: { overlapSeconds: 0 } });
  expect((await under.request('GET', '/v1/me', { key: second.key })).status).toBe(401);
  expect(
    await under.request('POST', `/v1/keys/${second.id}/rotate`, { body: { overlapSeconds: 0 } }),
  ).toMatchObject({ status: 409, body: { error: { code: 'key_ended' } } });
});

test('a key that is revoked ends at once, with what is watched by it, and a neighbour’s is none', async () => {
  const { runId } = await under.addRun(under.acme.scope);
  const viewer = created(await create({ role: 'viewer' }));
  const other = created(await create({ role: 'viewer' }));
  const watch = async (path: string, key: string) => {
    const response = await fetch(under.url + path, { headers: { authorization: `Bearer ${key}` } });
    expect(response.status).toBe(200);
    const state = { isEnded: false };
    void (async () => {
      for await (const _chunk of response.body!);
    })().then(() => (state.isEnded = true));
    return state;
  };
  const paths = [`/v1/runs/${runId}/watch`, '/v1/topics/orders.placed/messages'];
  const [ofRun, ofTopic, kept] = await Promise.all([
    watch(paths[0]!, viewer.key),
    watch(paths[1]!, viewer.key),
    watch(paths[0]!, other.key),
  ]);
  for (const id of [viewer.id, newId()]) {
    expect(await under.request('DELETE', `/v1/keys/${id}`, { key: under.globex.apiKey })).toMatchObject({
      status: 404,
      body: { error: { code: 'key_not_found' } },
    });
  }
  const revoked = await under.request('DELETE', `/v1/keys/${viewer.id}`);
  expect(revoked).toMatchObject({ status: 200, body: { id: viewer.id, status: 'revoked' } });
  expect((await under.request('GET', '/v1/me', { key: viewer.key })).status).toBe(401);
  await eventually(() => expect([ofRun.isEnded, ofTopic.isEnded]).toEqual([true, true]));
  expect(kept.isEnded).toBe(false);
  await under.request('DELETE', `/v1/keys/${other.id}`);
  await eventually(() => expect(kept.isEnded).toBe(true));
});

test('the last key that can make others stays', async () => {
  const { keys } = routes.listKeys.answers[200].schema.parse(
    (await under.request('GET', '/v1/keys', { key: under.globex.apiKey })).body,
  );
  expect(keys).toHaveLength(1);
  expect(
    await under.request('DELETE', `/v1/keys/${keys[0]!.id}`, { key: under.globex.apiKey }),
  ).toMatchObject({ status: 409, body: { error: { code: 'last_admin_key' } } });
});

test('signing keys are rotated, shown once, and listed without what they are', async () => {
  const rotated = await under.request('POST', '/v1/signing-keys/rotate', { body: {} });
  const { signingKey, ...made } = routes.rotateSigningKey.answers[201].schema.parse(rotated.body);
  expect(rotated.status).toBe(201);
  expect(signingKey).toMatch(/^whsec_/);
  const list = await under.request('GET', '/v1/signing-keys');
  const { signingKeys } = routes.listSigningKeys.answers[200].schema.parse(list.body);
  expect(signingKeys).toMatchObject([made, { version: made.version - 1, expiresAt: expect.any(String) }]);
  expect(JSON.stringify(list)).not.toContain('whsec_');
  expect(under.logged()).not.toContain(signingKey);
});

test('when a key was used is written once a minute, and at the end what is left', async () => {
  const clock = createManualClock();
  const access = createKeyAccess({
    database: under.platform,
    secrets: under.secrets,
    notices: under.jetstream.notices,
    logger: createLogger({ service: 'test', level: 'silent' }),
    clock,
  });
  const [first, second] = [
    await under.addKey(under.globex.scope, 'viewer'),
    await under.addKey(under.globex.scope, 'developer'),
  ];
  const lastUsed = async (key: string): Promise<Date | null> => {
    const keyHash = new Uint8Array(hashApiKey(key, under.secrets.apiKeyPepper));
    return (await under.platform.prisma.apiKey.findUniqueOrThrow({ where: { keyHash } })).lastUsedAt;
  };
  await access.authenticator.authenticate(first);
  await clock.advance(59_999);
  expect(await lastUsed(first)).toBeNull();
  await clock.advance(1);
  await eventually(async () => expect(await lastUsed(first)).not.toBeNull());
  await access.authenticator.authenticate(second);
  expect(await lastUsed(second)).toBeNull();
  await access.stop();
  expect(await lastUsed(second)).not.toBeNull();
});

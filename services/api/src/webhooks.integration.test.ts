import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { findWebhookSources, recordDeliveries } from '@ironflow/database';
import { routes } from '@ironflow/schema';
import type { Webhook, WebhookWithSecret } from '@ironflow/schema';
import { newId, startApiUnderTest } from './testing/api-under-test.js';
import type { Answer, ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest();
}, 60_000);
afterAll(() => under.stop());

const shopify = { signature: { header: 'X-Shopify-Hmac-Sha256', encoding: 'base64' } };

async function create(body: Record<string, unknown>, key = under.acme.apiKey): Promise<Answer> {
  return under.request('POST', '/v1/webhooks', { body: { provider: 'github', ...body }, key });
}

async function created(body: Record<string, unknown>, key?: string): Promise<WebhookWithSecret> {
  const answer = await create(body, key);
  expect(answer.status).toBe(201);
  return routes.createWebhook.answers[201].schema.parse(answer.body);
}

async function shown(id: string): Promise<Webhook> {
  const answer = await under.request('GET', `/v1/webhooks/${id}`);
  expect(answer.status).toBe(200);
  return routes.getWebhook.answers[200].schema.parse(answer.body);
}

test('a source is created with an address and a secret, which nothing shows again', async () => {
  const { secret, ...source } = await created({ id: 'hub' });
  expect(source).toMatchObject({
    id: 'hub',
    provider: 'github',
    eventPrefix: 'github',
    status: 'active',
    refused: 0,
  });
  expect(source.path).toMatch(/^\/v1\/hooks\/ifw_[0-9A-Za-z]{49}$/);
  expect(secret).toMatch(/^[0-9a-f]{64}$/);
  expect(await shown('hub')).toEqual(source);
  const list = await under.request('GET', '/v1/webhooks');
  expect(routes.listWebhooks.answers[200].schema.parse(list.body).webhooks).toContainEqual(source);
  expect(JSON.stringify([list, await under.request('GET', '/v1/webhooks/hub')])).not.toContain(secret);
  expect(under.logged()).not.toContain(secret);
});

test('a secret that is given is not told back, and one that is rotated is told once', async () => {
  const given = 'whsec_0123456789';
  expect((await created({ id: 'given', secret: given })).secret).toBeUndefined();
  const answer = await under.request('POST', '/v1/webhooks/given/rotate', { body: { graceSeconds: 60 } });
  const rotated = routes.rotateWebhook.answers[200].schema.parse(answer.body);
  expect(rotated.secrets).toHaveLength(2);
  expect(rotated.secret).toMatch(/^[0-9a-f]{64}$/);
  expect(JSON.stringify(await shown('given'))).not.toContain(rotated.secret);
  expect(under.logged()).not.toContain(given);
});

test('a source is paused and resumed, however often, and deleted once', async () => {
  await created({ id: 'paused' });
  for (const [action, status] of [
    ['pause', 'paused'],
    ['pause', 'paused'],
    ['resume', 'active'],
  ]) {
    const answer = await under.request('POST', `/v1/webhooks/paused/${action}`);
    expect(answer).toMatchObject({ status: 200, body: { status } });
  }
  expect(await under.request('DELETE', '/v1/webhooks/paused')).toEqual({
    status: 200,
    body: { id: 'paused' },
  });
  expect(await under.request('DELETE', '/v1/webhooks/paused')).toMatchObject({ status: 404 });
});

test('deliveries are listed in pages, and by their status', async () => {
  await created({ id: 'log' });
  const eventId = newId();
  await recordDeliveries(under.platform, under.acme.scope.environmentId, [
    { id: newId(), sourceId: 'log', status: 'accepted', deliveryId: 'd', eventId, eventName: 'github.push' },
    { id: newId(), sourceId: 'log', status: 'refused', reason: 'signature_invalid' },
  ]);
  const list = async (query: string) => {
    const answer = await under.request('GET', `/v1/webhooks/log/deliveries?${query}`);
    expect(answer.status).toBe(200);
    return routes.listDeliveries.answers[200].schema.parse(answer.body);
  };
  expect((await list('')).deliveries).toHaveLength(2);
  expect((await list('limit=1')).nextCursor).toBeDefined();
  expect((await list('status=accepted')).deliveries).toMatchObject([{ eventId, eventName: 'github.push' }]);
  expect(await shown('log')).toMatchObject({ refused: 1, refusedUnlogged: 0 });
});

describe('what is refused', () => {
  test.each([
    ['no id', { id: undefined }, 'id'],
    ['an id that is none', { id: 'a b' }, 'id'],
    ['an unknown provider', { id: 'a', provider: 'gitlab' }, 'provider'],
    ['a custom provider without its scheme', { id: 'a', provider: 'custom' }, 'scheme'],
    ['a scheme for a known provider', { id: 'a', scheme: shopify }, 'scheme'],
    [
      'a scheme whose timestamp is not signed',
      { id: 'a', provider: 'custom', scheme: { ...shopify, timestamp: { header: 't' } } },
      'scheme.signed',
    ],
    ['a reserved prefix', { id: 'a', eventPrefix: 'ironflow' }, 'eventPrefix'],
    [
      'a custom source named like the platform',
      { id: 'ironflow', provider: 'custom', scheme: shopify },
      'eventPrefix',
    ],
    ['a short secret', { id: 'a', secret: 'short' }, 'secret'],
    [
      'a secret that is not base64',
      { id: 'a', provider: 'standard-webhooks', secret: 'whsec_!!!!' },
      'secret',
    ],
    ['a header that is none', { id: 'a', headers: ['a b'] }, 'headers[0]'],
  ])('%s', async (_what, body, field) => {
    expect(await create(body)).toMatchObject({ status: 400, body: { error: { field } } });
  });

  test('an id that is taken', async () => {
    await created({ id: 'taken' });
    expect(await create({ id: 'taken' })).toMatchObject({
      status: 409,
      body: { error: { code: 'webhook_exists' } },
    });
  });

  test('a grace beyond a week', async () => {
    await created({ id: 'grace' });
    const body = { graceSeconds: 7 * 86_400 + 1 };
    const answer = await under.request('POST', '/v1/webhooks/grace/rotate', { body });
    expect(answer).toMatchObject({ status: 400, body: { error: { field: 'graceSeconds' } } });
  });
});

test('a neighbour’s source is as unknown as any', async () => {
  await created({ id: 'private' }, under.globex.apiKey);
  for (const [method, rest] of [
    ['GET', ''],
    ['GET', '/deliveries'],
    ['POST', '/rotate'],
    ['POST', '/pause'],
    ['POST', '/resume'],
    ['DELETE', ''],
  ] as const) {
    const body = rest === '/rotate' ? {} : undefined;
    const theirs = await under.request(method, `/v1/webhooks/private${rest}`, { body });
    expect(theirs).toMatchObject({ status: 404, body: { error: { code: 'webhook_not_found' } } });
    expect(theirs).toEqual(await under.request(method, `/v1/webhooks/absent${rest}`, { body }));
  }
  const answer = await under.request('GET', '/v1/webhooks/private', { key: under.globex.apiKey });
  expect(answer).toMatchObject({ status: 200, body: { status: 'active' } });
});

test('a custom source is stored with all that its scheme leaves open', async () => {
  const source = await created({ id: 'shop', provider: 'custom', scheme: shopify });
  expect(source.scheme).toMatchObject({
    signed: '{body}',
    toleranceSeconds: 300,
    secret: { encoding: 'utf8' },
  });
  expect(source.eventPrefix).toBe('shop');
  await expect(
    findWebhookSources(under.platform, under.secrets, [source.path.split('/').at(-1)!]),
  ).resolves.toMatchObject([{ id: 'shop', scope: under.acme.scope, scheme: source.scheme }]);
});

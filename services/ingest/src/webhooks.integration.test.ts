/** Webhooks as providers send them, against one ingest with real PostgreSQL and NATS. */
import { createRequire } from 'node:module';
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { sign as signAsGithub } from '@octokit/webhooks-methods';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { limits, webhookSchemeSchema } from '@ironflow/schema';
import type { Scope, StoredEvent, WebhookProviderId, WebhookWithSecret } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { holdEvents, metricOf, newId, startIngestUnderTest } from './testing/ingest-under-test.js';
import type { IngestUnderTest } from './testing/ingest-under-test.js';

const examples = createRequire(import.meta.url)('@octokit/webhooks-examples') as {
  name: string;
  examples: Record<string, unknown>[];
}[];

let under: IngestUnderTest;
beforeAll(async () => {
  under = await startIngestUnderTest();
}, 60_000);
afterAll(() => under.stop());

const mark = 'PAYLOAD-THAT-NOBODY-MAY-LOG';
const secret = 'a-secret-of-the-provider';
const whsec = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
let made = 0;

async function createSource(
  provider: WebhookProviderId,
  given: Partial<Parameters<IngestUnderTest['webhooks']['create']>[1]> = {},
  scope: Scope = under.acme.scope,
): Promise<WebhookWithSecret> {
  const id = `source-${(made += 1)}`;
  return under.webhooks.create(scope.environmentId, { id, provider, headers: [], secret, ...given });
}

interface Received {
  status: number;
  headers: Headers;
  body: { id?: string; duplicate?: boolean; error?: { code: string; message: string } };
}

async function send(
  path: string,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Promise<Received> {
  const response = await fetch(under.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: new Uint8Array(Buffer.from(body)),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Received['body'],
  };
}

interface GithubDelivery {
  delivery?: string;
  event?: string;
  with?: string;
  headers?: Record<string, string>;
}

async function sendGithub(
  source: { path: string },
  body: string,
  options: GithubDelivery = {},
): Promise<Received> {
  return send(source.path, body, {
    'x-github-event': options.event ?? 'push',
    'x-github-delivery': options.delivery ?? newId(),
    'x-hub-signature-256': await signAsGithub(options.with ?? secret, body),
    ...options.headers,
  });
}

async function eventOf(id: string): Promise<{
  name: string;
  source: string;
  data: unknown;
  causationId: string | null;
  environmentId: string;
}> {
  const [row] = await under.platform.prisma.$queryRaw<
    { name: string; source: string; data: string; causation_id: string | null; environment_id: string }[]
  >`select name, source, data::text, causation_id, environment_id from events where id = ${id}::uuid`;
  const { name, source, data, causation_id: causationId, environment_id: environmentId } = row!;
  return { name, source, data: JSON.parse(data) as unknown, causationId, environmentId };
}

async function logOf(source: { id: string }, scope: Scope = under.acme.scope) {
  const page = await under.webhooks.listDeliveries(scope.environmentId, source.id, { limit: 200 });
  return page!.deliveries;
}

const refusal = (status: number, code: string) => ({ status, body: { error: { code } } });
const now = (): number => Math.floor(Date.now() / 1_000);

describe('a delivery of GitHub', () => {
  test('becomes an event when it is answered: its body, named by what happened', async () => {
    const source = await createSource('github');
    const published: StoredEvent[] = [];
    const stopListening = under.onEvent((event) => published.push(event));
    const payload = examples
      .find(({ name }) => name === 'issues')!
      .examples.find(({ action }) => action === 'opened')!;
    const delivery = '72d3162e-cc78-11e3-81ab-4c9367dc0958';
    const answer = await sendGithub(source, JSON.stringify(payload), { event: 'issues', delivery });
    expect(answer).toMatchObject({ status: 202, body: { duplicate: false } });
    const id = answer.body.id!;
    expect(await eventOf(id)).toEqual({
      name: 'github.issues.opened',
      source: 'webhook',
      data: payload,
      causationId: delivery,
      environmentId: under.acme.scope.environmentId,
    });
    await eventually(() => expect(published).toHaveLength(1));
    stopListening();
    expect(published[0]).toMatchObject({ id, scope: under.acme.scope, source: 'webhook' });
    expect(await logOf(source)).toEqual([
      {
        id: expect.any(String),
        status: 'accepted',
        deliveryId: delivery,
        eventId: id,
        eventName: 'github.issues.opened',
        receivedAt: expect.any(String),
      },
    ]);
  });

  test('may be any that GitHub shows as an example', async () => {
    const source = await createSource('github');
    const sent = examples.flatMap(({ name, examples: [first] }) =>
      first === undefined
        ? []
        : [{ name, body: JSON.stringify(first), action: first['action'] as string | undefined }],
    );
    expect(sent.length).toBeGreaterThan(50);
    for (const { name, body, action } of sent) {
      const answer = await sendGithub(source, body, { event: name });
      expect([name, answer.status]).toEqual([name, 202]);
      const event = await eventOf(answer.body.id!);
      expect(event.name).toBe(['github', name, ...(action === undefined ? [] : [action])].join('.'));
      expect(event.data).toEqual(JSON.parse(body));
    }
  });

  test('may be a form with its JSON as `payload`, signed as it came', async () => {
    const source = await createSource('github');
    const payload = { zen: 'Bücher & Café = 100 %', hook_id: 1 };
    const form = new URLSearchParams({ payload: JSON.stringify(payload) }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' };
    const answer = await sendGithub(source, form, { event: 'ping', headers });
    expect(answer.status).toBe(202);
    expect(await eventOf(answer.body.id!)).toMatchObject({ name: 'github.ping', data: payload });
    expect(await sendGithub(source, 'other=1', { headers })).toMatchObject(refusal(400, 'body_not_json'));
    const custom = await createSource('custom', {
      scheme: webhookSchemeSchema.parse({ signature: { header: 'X-Hub-Signature-256', prefix: 'sha256=' } }),
    });
    expect(await sendGithub(custom, form, { headers })).toMatchObject(refusal(400, 'body_not_json'));
  });

  test('that was signed as JSON is no form, whatever its content type is made into on the way', async () => {
    const source = await createSource('github');
    const payload = { comment: { body: '&payload={"action":"deleted"}&' } };
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await sendGithub(source, JSON.stringify(payload), { event: 'issue_comment', headers });
    expect(answer.status).toBe(202);
    expect(await eventOf(answer.body.id!)).toMatchObject({ name: 'github.issue_comment', data: payload });
  });

  test('that is sent again is answered 200 with the event of the first time', async () => {
    const source = await createSource('github');
    const before = await under.countEvents(under.acme.scope);
    const first = await sendGithub(source, '{"n":1}', { delivery: 'once' });
    const again = await sendGithub(source, '{"n":1}', { delivery: 'once' });
    expect(again).toMatchObject({ status: 200, body: { id: first.body.id, duplicate: true } });
    expect(await under.countEvents(under.acme.scope)).toBe(before + 1);
    expect(await logOf(source)).toMatchObject([
      { status: 'duplicate', deliveryId: 'once', eventId: first.body.id },
      { status: 'accepted', deliveryId: 'once', eventId: first.body.id },
    ]);
    const other = await createSource('github');
    expect((await sendGithub(other, '{"n":1}', { delivery: 'once' })).status).toBe(202);
    expect(await sendGithub(source, '{"n":1}', { delivery: 'once', event: 'fork' })).toMatchObject(
      refusal(409, 'delivery_id_reused'),
    );
  });

  test('that comes twenty times at once is one event', async () => {
    const source = await createSource('github');
    const before = await under.countEvents(under.acme.scope);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => sendGithub(source, '{}', { delivery: 'at once' })),
    );
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array<number>(19).fill(200), 202]);
    expect(await under.countEvents(under.acme.scope)).toBe(before + 1);
  });

  test('whose answer was lost is one event when it is sent again', async () => {
    const source = await createSource('github');
    const before = await under.countEvents(under.acme.scope);
    const held = await holdEvents(under);
    const headers = {
      'content-type': 'application/json',
      'x-github-event': 'push',
      'x-github-delivery': 'lost',
      'x-hub-signature-256': await signAsGithub(secret, '{}'),
    };
    const lost = httpRequest(under.url + source.path, { method: 'POST', headers });
    lost.on('error', () => undefined);
    lost.end('{}');
    await eventually(async () => expect(await held.waiting()).toBe(1));
    lost.destroy();
    await held.release();
    await eventually(async () => expect(await under.countEvents(under.acme.scope)).toBe(before + 1));
    const again = await sendGithub(source, '{}', { delivery: 'lost' });
    expect(again).toMatchObject({ status: 200, body: { duplicate: true } });
    expect(await under.countEvents(under.acme.scope)).toBe(before + 1);
  });

  test('is no event with any byte of its body or of its signature changed', async () => {
    const source = await createSource('github');
    const before = await under.countEvents(under.acme.scope);
    const body = Buffer.from('{"action":"opened","n":1}');
    const signature = Buffer.from(await signAsGithub(secret, body.toString()));
    const flipped = (bytes: Buffer): Buffer[] =>
      Array.from(bytes, (byte, at) =>
        Buffer.concat([bytes.subarray(0, at), Buffer.of(byte ^ 1), bytes.subarray(at + 1)]),
      );
    const forged = [
      ...flipped(body).map((bytes) => ({ bytes, sign: signature })),
      ...flipped(signature).map((sign) => ({ bytes: body, sign })),
    ];
    for (const { bytes, sign } of forged) {
      const headers = { 'x-github-event': 'issues', 'x-github-delivery': newId() };
      const answer = await send(source.path, bytes, { ...headers, 'x-hub-signature-256': sign.toString() });
      expect([answer.status, answer.body.error?.code]).toEqual([401, expect.stringMatching(/^signature_/)]);
    }
    expect(await under.countEvents(under.acme.scope)).toBe(before);
    expect(await under.webhooks.get(under.acme.scope.environmentId, source.id)).toMatchObject({
      refused: forged.length,
    });
  });

  test('cannot take the place of a tenant’s own idempotency key', async () => {
    const source = await createSource('github');
    await sendGithub(source, '{}', { delivery: 'mine' });
    const keys = await under.platform.prisma.idempotencyKey.findMany({ where: { eventName: 'github.push' } });
    expect(keys.length).toBeGreaterThan(0);
    for (const { key } of keys) {
      const answer = await under.post('/v1/events', { name: 'github.push', idempotencyKey: key });
      expect(answer).toMatchObject({ status: 400, body: { error: { field: 'idempotencyKey' } } });
    }
  });
});

describe('a delivery of Stripe', () => {
  const payload = { id: 'evt_1', object: 'event', type: 'invoice.paid', data: { object: { amount: 100 } } };
  const body = JSON.stringify(payload, null, 2);
  const signed = (text: string, timestamp = now()) => ({
    'stripe-signature': Stripe.webhooks.generateTestHeaderString({ payload: text, secret: whsec, timestamp }),
  });

  test('waits for the secret that Stripe makes, and is taken with it', async () => {
    const source = await createSource('stripe', { secret: undefined });
    expect(source).toMatchObject({ secrets: [] });
    expect(source.secret).toBeUndefined();
    expect(await send(source.path, body, signed(body))).toMatchObject(refusal(401, 'webhook_secret_missing'));
    await under.webhooks.rotate(under.acme.scope.environmentId, source.id, {
      secret: whsec,
      graceSeconds: 0,
    });
    const answer = await send(source.path, body, signed(body));
    expect(answer.status).toBe(202);
    expect(await eventOf(answer.body.id!)).toMatchObject({ name: 'stripe.invoice.paid', data: payload });
  });

  test('that is tried again later, signed anew, is one event; a late or a stolen one is none', async () => {
    const source = await createSource('stripe', { secret: whsec });
    const first = await send(source.path, body, signed(body, now() - 200));
    expect(await send(source.path, body, signed(body, now()))).toMatchObject({
      status: 200,
      body: { id: first.body.id, duplicate: true },
    });
    expect(await send(source.path, body, signed(body, now() - 301))).toMatchObject(
      refusal(401, 'delivery_too_old'),
    );
    expect(await send(source.path, body.replace('100', '1'), signed(body))).toMatchObject(
      refusal(401, 'signature_invalid'),
    );
    expect((await logOf(source)).map(({ status, reason }) => reason ?? status)).toEqual([
      'signature_invalid',
      'delivery_too_old',
      'duplicate',
      'accepted',
    ]);
  });

  test('without what it is named or told apart by is refused', async () => {
    const source = await createSource('stripe', { secret: whsec });
    for (const [text, code] of [
      ['{"id":"evt_2"}', 'event_type_missing'],
      ['{"type":"invoice.paid"}', 'delivery_id_missing'],
      ['{"id":"evt_2","type":"a..b"}', 'event_name_invalid'],
      ['[]', 'event_type_missing'],
      ['', 'body_not_json'],
      ['{"id":', 'body_not_json'],
    ] as const) {
      const answer = await send(source.path, text, signed(text));
      expect([text, answer.status, answer.body.error?.code]).toEqual([text, 400, code]);
    }
  });
});

test('a delivery by Standard Webhooks is taken, with the secret that was made for it', async () => {
  const source = await createSource('standard-webhooks', { id: 'billing', secret: undefined });
  const signer = new StandardWebhook(source.secret!);
  const body = JSON.stringify({ type: 'user.created', data: { id: 7 } });
  const headers = {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(now()),
    'webhook-signature': signer.sign('msg_1', new Date(now() * 1_000), body),
  };
  const answer = await send(source.path, body, headers);
  expect(answer.status).toBe(202);
  expect(await eventOf(answer.body.id!)).toMatchObject({
    name: 'billing.user.created',
    causationId: 'msg_1',
  });
  expect(await send(source.path, body, { ...headers, 'webhook-id': 'msg_2' })).toMatchObject(
    refusal(401, 'signature_invalid'),
  );
});

describe('a custom provider', () => {
  const scheme = webhookSchemeSchema.parse({
    signature: { header: 'X-Hub-Signature-256', prefix: 'sha256=' },
    eventType: [{ header: 'X-Shop-Topic' }],
  });

  test('that names no deliveries has an event for each, also for the same body', async () => {
    const source = await createSource('custom', { id: 'shop', scheme, eventPrefix: 'shop.eu' });
    const headers = {
      'x-hub-signature-256': await signAsGithub(secret, '{}'),
      'x-shop-topic': 'orders/create',
    };
    const first = await send(source.path, '{}', headers);
    const second = await send(source.path, '{}', { ...headers, 'content-type': 'text/plain' });
    expect([first.status, second.status]).toEqual([202, 202]);
    expect(second.body.id).not.toBe(first.body.id);
    expect(await eventOf(first.body.id!)).toMatchObject({ name: 'shop.eu.orders.create', causationId: null });
  });

  test('that signs a timestamp has one for the same bytes signed at the same time', async () => {
    const timed = webhookSchemeSchema.parse({
      signature: { header: 'x-hub-signature-256', prefix: 'sha256=' },
      timestamp: { header: 'x-time' },
      signed: '{timestamp}.{body}',
    });
    const source = await createSource('custom', { scheme: timed });
    const sendAt = async (time: number) =>
      send(source.path, '{}', {
        'x-time': String(time),
        'x-hub-signature-256': await signAsGithub(secret, `${time}.{}`),
      });
    const time = now();
    const first = await sendAt(time);
    expect(await sendAt(time)).toMatchObject({ status: 200, body: { id: first.body.id } });
    expect((await sendAt(time - 1)).status).toBe(202);
  });

  test('whose headers matter has them beside the body', async () => {
    const source = await createSource('custom', { scheme, headers: ['x-shop-domain', 'x-absent'] });
    const answer = await send(source.path, '{"n":1}', {
      'x-hub-signature-256': await signAsGithub(secret, '{"n":1}'),
      'x-shop-topic': 'a',
      'x-shop-domain': 'a.example',
    });
    expect(await eventOf(answer.body.id!)).toMatchObject({
      data: { body: { n: 1 }, headers: { 'x-shop-domain': 'a.example' } },
    });
  });
});

describe('what is too large', () => {
  test('is refused with 413 and logged, whether it says how large it is or not', async () => {
    const source = await createSource('github');
    const large = JSON.stringify({ text: 'x'.repeat(limits.eventDataBytesMax) });
    expect(await sendGithub(source, large)).toMatchObject(refusal(413, 'event_data_too_large'));
    const body = 'x'.repeat(limits.webhookBodyBytesMax + 1);
    expect(await sendGithub(source, body)).toMatchObject(refusal(413, 'body_too_large'));
    const chunked = await fetch(under.url + source.path, {
      method: 'POST',
      body: new Blob([body]).stream(),
      duplex: 'half',
    });
    expect(chunked.status).toBe(413);
    expect((await logOf(source)).map(({ reason }) => reason)).toEqual([
      'body_too_large',
      'body_too_large',
      'event_data_too_large',
    ]);
  });

  test('is refused by its depth as well', async () => {
    const source = await createSource('github');
    const deep = '['.repeat(300) + ']'.repeat(300);
    expect(await sendGithub(source, deep)).toMatchObject(refusal(400, 'event_data_too_deep'));
  });
});

describe('secrets', () => {
  test('old and new verify within the grace, and only the new one after it', async () => {
    const { environmentId } = under.acme.scope;
    const source = await createSource('github');
    const rotated = await under.webhooks.rotate(environmentId, source.id, { graceSeconds: 3_600 });
    const fresh = rotated!.secret!;
    expect(rotated!.secrets).toEqual([
      { createdAt: expect.any(String) },
      { createdAt: expect.any(String), expiresAt: expect.any(String) },
    ]);
    expect((await sendGithub(source, '{}')).status).toBe(202);
    expect((await sendGithub(source, '{}', { with: fresh })).status).toBe(202);
    expect((await sendGithub(source, '{}', { with: 'a wrong secret' })).status).toBe(401);
    await under.platform.prisma.webhookSecret.updateMany({
      where: { sourceId: source.id, expiresAt: { not: null } },
      data: { expiresAt: new Date(Date.now() - 1_000) },
    });
    expect(await sendGithub(source, '{}')).toMatchObject(refusal(401, 'signature_invalid'));
    expect((await sendGithub(source, '{}', { with: fresh })).status).toBe(202);
  });

  test('without a grace the old one is good no more at once', async () => {
    const source = await createSource('github');
    await under.webhooks.rotate(under.acme.scope.environmentId, source.id, {
      secret: 'another secret',
      graceSeconds: 0,
    });
    expect((await sendGithub(source, '{}')).status).toBe(401);
    expect((await sendGithub(source, '{}', { with: 'another secret' })).status).toBe(202);
  });
});

describe('a source', () => {
  test('that is paused refuses with 503 and logs it, until it is resumed', async () => {
    const { environmentId } = under.acme.scope;
    const source = await createSource('github');
    await under.webhooks.setStatus(environmentId, source.id, 'paused');
    const refused = await sendGithub(source, '{}', { delivery: 'early' });
    expect(refused).toMatchObject(refusal(503, 'webhook_paused'));
    expect(refused.headers.get('retry-after')).toBe('60');
    await under.webhooks.setStatus(environmentId, source.id, 'active');
    expect((await sendGithub(source, '{}', { delivery: 'early' })).status).toBe(202);
    expect(await logOf(source)).toMatchObject([
      { status: 'accepted' },
      { status: 'refused', reason: 'webhook_paused', deliveryId: 'early' },
    ]);
  });

  test('that is deleted is as unknown as any, and one of its name that follows is another', async () => {
    const { environmentId } = under.acme.scope;
    const source = await createSource('github', { id: 'again' });
    const taken = await sendGithub(source, '{}', { delivery: 'd' });
    await under.webhooks.delete(environmentId, source.id);
    const unknown = await sendGithub({ path: `${source.path.slice(0, -1)}x` }, '{}');
    expect(await sendGithub(source, '{}')).toMatchObject({ status: 404, body: unknown.body });
    const next = await createSource('github', { id: 'again' });
    expect(next.path).not.toBe(source.path);
    expect(await logOf(next)).toEqual([]);
    const answer = await sendGithub(next, '{}', { delivery: 'd' });
    expect(answer.status).toBe(202);
    expect(answer.body.id).not.toBe(taken.body.id);
  });

  test('of a neighbour takes what is signed with the neighbour’s secret, as the neighbour’s event', async () => {
    const mine = await createSource('github', { id: 'same' });
    const theirs = await createSource(
      'github',
      { id: 'same', secret: 'their own secret' },
      under.globex.scope,
    );
    expect(await sendGithub(theirs, '{}')).toMatchObject(refusal(401, 'signature_invalid'));
    const answers = [
      await sendGithub(mine, '{}', { delivery: 'd' }),
      await sendGithub(theirs, '{}', { delivery: 'd', with: 'their own secret' }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([202, 202]);
    const events = await Promise.all(answers.map(({ body }) => eventOf(body.id!)));
    expect(events.map(({ environmentId }) => environmentId)).toEqual([
      under.acme.scope.environmentId,
      under.globex.scope.environmentId,
    ]);
    expect(await logOf(mine)).toHaveLength(1);
    expect(await logOf(theirs, under.globex.scope)).toHaveLength(2);
  });

  test('logs so many refusals a minute, and counts the others', async () => {
    const source = await createSource('github');
    const count = limits.webhookRefusalsPerMinuteMax * 3;
    // Within one minute of the database, or two at most.
    await Promise.all(
      Array.from({ length: count }, () => sendGithub(source, '{}', { with: 'a wrong secret' })),
    );
    const logged = await logOf(source);
    expect(logged.length).toBeGreaterThanOrEqual(limits.webhookRefusalsPerMinuteMax);
    expect(logged.length).toBeLessThanOrEqual(limits.webhookRefusalsPerMinuteMax * 2);
    const shown = await under.webhooks.get(under.acme.scope.environmentId, source.id);
    expect(shown).toMatchObject({ refused: count, refusedUnlogged: count - logged.length });
    expect((await sendGithub(source, '{}')).status).toBe(202);
    expect((await logOf(source))[0]).toMatchObject({ status: 'accepted' });
  });
});

test('an address that is none is refused before its body is read, and logged for nobody', async () => {
  const before = await under.platform.prisma.webhookDelivery.count();
  for (const path of ['/v1/hooks/x', `/v1/hooks/ifw_${'0'.repeat(49)}`, '/v1/hooks/..%2f..']) {
    expect(await send(path, mark.repeat(100_000))).toMatchObject(refusal(404, 'webhook_not_found'));
  }
  expect(await under.platform.prisma.webhookDelivery.count()).toBe(before);
});

test('bodies that are announced and never come take no room of callers with a key, and little of their sender', async () => {
  const small = await startIngestUnderTest({
    acceptanceLimits: { pendingBytesMax: limits.webhookBodyBytesMax },
  });
  try {
    const source = await small.webhooks.create(small.acme.scope.environmentId, {
      ...{ id: 'hub', provider: 'github', headers: [], secret },
    });
    const deliver = (body: string, signature: string): Promise<Response> =>
      fetch(small.url + source.path, {
        method: 'POST',
        headers: { 'x-github-event': 'push', 'x-github-delivery': 'd', 'x-hub-signature-256': signature },
        body,
      });
    const pendingBytes = () => metricOf(small, 'ingest_webhook_pending_bytes');
    const announced = { method: 'POST', headers: { 'content-length': limits.webhookBodyBytesMax } };
    const silent = [1, 2].map(() => httpRequest(small.url + source.path, announced));
    for (const request of silent) request.on('error', () => undefined).flushHeaders();
    await eventually(async () => expect(await pendingBytes()).toBe(2 * limits.webhookBodyBytesMax));
    const refused = await deliver('x', 'sha256=forged');
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    const large = { name: 'user.created', data: 'x'.repeat(limits.eventDataBytesMax - 2) };
    expect(await small.post('/v1/events', large)).toMatchObject({ status: 202 });
    for (const request of silent) request.destroy();
    await eventually(async () => expect(await pendingBytes()).toBe(0));
    expect((await deliver('x', 'sha256=forged')).status).toBe(401);
    expect((await deliver('{}', await signAsGithub(secret, '{}'))).status).toBe(202);
    expect(await pendingBytes()).toBe(0);
  } finally {
    await small.stop();
  }
}, 60_000);

test('neither secrets nor payloads nor addresses are logged, and metrics tell what came of deliveries', async () => {
  const source = await createSource('github');
  await sendGithub(source, JSON.stringify({ mark }));
  await sendGithub(source, `{"${mark}"`);
  await sendGithub(source, '{}', { with: mark });
  for (const text of [mark, secret, source.path.slice('/v1/hooks/'.length)]) {
    expect(under.logged()).not.toContain(text);
  }
  expect(await metricOf(under, 'ingest_webhook_deliveries_total', 'status="accepted"')).toBeGreaterThan(0);
  expect(await metricOf(under, 'ingest_webhook_deliveries_total', 'status="refused"')).toBeGreaterThan(0);
  expect(
    await metricOf(under, 'ingest_requests_refused_total', 'reason="signature_invalid"'),
  ).toBeGreaterThan(0);
});

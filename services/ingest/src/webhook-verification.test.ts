import { createHmac } from 'node:crypto';
import { createRequire } from 'node:module';
import { describe, expect, test } from '@jest/globals';
import { sign as signAsGithub } from '@octokit/webhooks-methods';
import * as fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { webhookKey, webhookProviders, webhookSchemeSchema } from '@ironflow/schema';
import type { WebhookScheme } from '@ironflow/schema';
import { verifyDelivery } from './webhook-verification.js';

const examples = createRequire(import.meta.url)('@octokit/webhooks-examples') as {
  name: string;
  examples: unknown[];
}[];
const nowMs = 1_700_000_000_000;
const nowSeconds = nowMs / 1_000;
const plain = 'a secret of theirs';
const whsec = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
const body = JSON.stringify({ id: 'evt_1', type: 'invoice.paid', note: 'Bücher €' });

interface Signed {
  scheme: WebhookScheme;
  secret: string;
  headers: Record<string, string>;
  body: Buffer;
}

function verify({ scheme, secret, headers, body: bytes }: Signed, atMs = nowMs): string {
  const result = verifyDelivery(
    scheme,
    { header: (name) => headers[name], body: bytes },
    [webhookKey(scheme, secret)!],
    atMs,
  );
  return result.ok ? 'ok' : result.refusal;
}

async function github(text: string): Promise<Signed> {
  const { scheme } = webhookProviders.github;
  const headers = { 'x-hub-signature-256': await signAsGithub(plain, text) };
  return { scheme, secret: plain, headers, body: Buffer.from(text) };
}

function stripe(text: string, timestamp = nowSeconds): Signed {
  const { scheme } = webhookProviders.stripe;
  const header = Stripe.webhooks.generateTestHeaderString({ payload: text, secret: whsec, timestamp });
  return { scheme, secret: whsec, headers: { 'stripe-signature': header }, body: Buffer.from(text) };
}

function standard(text: string, atMs = nowMs): Signed {
  const { scheme } = webhookProviders['standard-webhooks'];
  const headers = {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(atMs / 1_000),
    'webhook-signature': new Webhook(whsec).sign('msg_1', new Date(atMs), text),
  };
  return { scheme, secret: whsec, headers, body: Buffer.from(text) };
}

/** As Slack does it: a version before, the timestamp in a header of its own, another header for the signature. */
function slack(text: string): Signed {
  const scheme = webhookSchemeSchema.parse({
    signature: { header: 'X-Slack-Signature', prefix: 'v0=' },
    timestamp: { header: 'X-Slack-Request-Timestamp' },
    signed: 'v0:{timestamp}:{body}',
  });
  const mac = createHmac('sha256', plain).update(`v0:${nowSeconds}:${text}`).digest('hex');
  const headers = { 'x-slack-signature': `v0=${mac}`, 'x-slack-request-timestamp': String(nowSeconds) };
  return { scheme, secret: plain, headers, body: Buffer.from(text) };
}

/** As Shopify does it. */
function shopify(text: string): Signed {
  const scheme = webhookSchemeSchema.parse({
    signature: { header: 'X-Shopify-Hmac-Sha256', encoding: 'base64' },
  });
  const headers = { 'x-shopify-hmac-sha256': createHmac('sha256', plain).update(text).digest('base64') };
  return { scheme, secret: plain, headers, body: Buffer.from(text) };
}

const signers: [string, (text: string) => Signed | Promise<Signed>][] = [
  ['GitHub', github],
  ['Stripe', stripe],
  ['Standard Webhooks', standard],
  ['Slack', slack],
  ['Shopify', shopify],
];

describe.each(signers)('a delivery signed by %s', (_name, sign) => {
  test('is believed', async () => expect(verify(await sign(body))).toBe('ok'));

  test('is not believed with any byte of its body changed, added or left out', async () => {
    const signed = await sign(body);
    for (let at = 0; at < signed.body.length; at += 1) {
      const changed = Buffer.from(signed.body);
      changed[at]! ^= 1;
      expect(verify({ ...signed, body: changed })).toBe('signature_invalid');
      const cut = Buffer.concat([signed.body.subarray(0, at), signed.body.subarray(at + 1)]);
      expect(verify({ ...signed, body: cut })).toBe('signature_invalid');
    }
    expect(verify({ ...signed, body: Buffer.concat([signed.body, Buffer.from(' ')]) })).toBe(
      'signature_invalid',
    );
  });

  test('is not believed with any character of what is signed in its headers changed', async () => {
    const signed = await sign(body);
    const characters = Object.entries(signed.headers).flatMap(([name, value]) =>
      Array.from(value, (_, at) => ({ name, at })),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...characters),
        fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
        ({ name, at }, character) => {
          const value = signed.headers[name]!;
          fc.pre(
            character.toLowerCase() !== value[at]!.toLowerCase() ||
              signed.scheme.signature.encoding === 'base64',
          );
          fc.pre(character !== value[at]);
          const changed = value.slice(0, at) + character + value.slice(at + 1);
          expect(verify({ ...signed, headers: { ...signed.headers, [name]: changed } })).not.toBe('ok');
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('is not believed with another secret, or without its headers', async () => {
    const signed = await sign(body);
    expect(verify({ ...signed, secret: `whsec_${Buffer.alloc(24, 8).toString('base64')}` })).toBe(
      'signature_invalid',
    );
    expect(verify({ ...signed, headers: {} })).toBe('signature_missing');
    for (const name of Object.keys(signed.headers)) {
      const { [name]: _left, ...headers } = signed.headers;
      expect(verify({ ...signed, headers })).not.toBe('ok');
    }
  });
});

test('GitHub’s own examples of payloads are believed as GitHub signs them', async () => {
  const payloads = examples.flatMap((event) => event.examples.slice(0, 1));
  expect(payloads.length).toBeGreaterThan(50);
  for (const payload of payloads) expect(verify(await github(JSON.stringify(payload)))).toBe('ok');
});

test('the vector of GitHub’s documentation is believed', () => {
  const { scheme } = webhookProviders.github;
  const signature = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
  const headers = { 'x-hub-signature-256': signature };
  const secret = "It's a Secret to Everybody";
  expect(verify({ scheme, secret, headers, body: Buffer.from('Hello, World!') })).toBe('ok');
});

test('a signature counts for five minutes around its timestamp', () => {
  const toleranceMs = 300_000;
  for (const signed of [stripe(body), standard(body), slack(body)]) {
    expect(verify(signed, nowMs + toleranceMs)).toBe('ok');
    expect(verify(signed, nowMs - toleranceMs)).toBe('ok');
    expect(verify(signed, nowMs + toleranceMs + 1)).toBe('delivery_too_old');
    expect(verify(signed, nowMs - toleranceMs - 1)).toBe('delivery_too_old');
  }
});

test('a fresh timestamp does not make an old signature good', () => {
  const old = stripe(body, nowSeconds - 3_600);
  const header = old.headers['stripe-signature']!.replace(/t=\d+/, `t=${nowSeconds}`);
  expect(verify({ ...old, headers: { 'stripe-signature': header } })).toBe('signature_invalid');
  const late = standard(body, nowMs - 3_600_000);
  const headers = { ...late.headers, 'webhook-timestamp': String(nowSeconds) };
  expect(verify({ ...late, headers })).toBe('signature_invalid');
});

test.each(['', 'now', '1e3', '-1', '0x10', ' '])('%j is no timestamp', (timestamp) => {
  const signed = standard(body);
  const headers = { ...signed.headers, 'webhook-timestamp': timestamp };
  expect(verify({ ...signed, headers })).toBe('timestamp_missing');
});

test('of several signatures, and of several secrets, one is enough', () => {
  const signed = standard(body);
  const mine = signed.headers['webhook-signature']!;
  const other = new Webhook(`whsec_${Buffer.alloc(24, 9).toString('base64')}`).sign(
    'msg_1',
    new Date(nowMs),
    body,
  );
  const headers = { ...signed.headers, 'webhook-signature': `v1a,xyz ${other} ${mine}` };
  expect(verify({ ...signed, headers })).toBe('ok');
  const keys = [Buffer.alloc(24, 9), Buffer.alloc(24, 7)];
  const received = { header: (name: string) => signed.headers[name], body: signed.body };
  expect(verifyDelivery(signed.scheme, received, keys, nowMs)).toEqual({
    ok: true,
    timestamp: String(nowSeconds),
  });
  expect(verifyDelivery(signed.scheme, received, [], nowMs)).toMatchObject({
    refusal: 'webhook_secret_missing',
  });
});

test('hexadecimal digits may be capitals, and other algorithms are what they say', async () => {
  const signed = await github(body);
  const upper = signed.headers['x-hub-signature-256']!.slice('sha256='.length).toUpperCase();
  expect(verify({ ...signed, headers: { 'x-hub-signature-256': `sha256=${upper}` } })).toBe('ok');
  for (const algorithm of ['sha1', 'sha256', 'sha512'] as const) {
    const scheme = webhookSchemeSchema.parse({ signature: { header: 'x-mac', algorithm } });
    const headers = { 'x-mac': createHmac(algorithm, plain).update(body).digest('hex') };
    expect(verify({ scheme, secret: plain, headers, body: Buffer.from(body) })).toBe('ok');
  }
});

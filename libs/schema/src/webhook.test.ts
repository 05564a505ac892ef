import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { emittedEventNameSchema } from './identifiers.js';
import {
  formatWebhookSecret,
  webhookEventName,
  webhookEventPrefixSchema,
  webhookKey,
  webhookProviders,
  webhookSchemeSchema,
} from './webhook.js';

const custom = { signature: { header: 'X-Signature' } };

test.each(Object.entries(webhookProviders))(
  'what is known of %s could be said by a tenant as well',
  (_id, { scheme }) => expect(webhookSchemeSchema.parse(scheme)).toEqual(scheme),
);

test('the least that is said is a header: HMAC-SHA256 of the body in hexadecimal', () => {
  expect(webhookSchemeSchema.parse(custom)).toEqual({
    signature: { header: 'x-signature', algorithm: 'sha256', encoding: 'hex', prefix: '' },
    toleranceSeconds: 300,
    signed: '{body}',
    secret: { encoding: 'utf8', prefix: '' },
    eventType: [],
  });
});

test.each([
  ['a header that is none', { signature: { header: 'x signature' } }],
  ['an unknown algorithm', { signature: { header: 'x', algorithm: 'md5' } }],
  ['no body', { ...custom, signed: 'v1' }],
  ['two bodies', { ...custom, signed: '{body}{body}' }],
  ['a timestamp that is not signed', { ...custom, timestamp: { header: 't' } }],
  ['a timestamp from nowhere', { ...custom, signed: '{timestamp}.{body}' }],
  ['an id from nowhere', { ...custom, signed: '{id}.{body}' }],
  ['an id from the body', { ...custom, signed: '{id}.{body}', deliveryId: { path: 'id' } }],
  ['two places of one id', { ...custom, deliveryId: { path: 'id', header: 'x-id' } }],
  ['an id without a place', { ...custom, deliveryId: {} }],
  ['an unknown field', { ...custom, signd: '{body}' }],
])('%s is refused', (_what, scheme) => {
  expect(webhookSchemeSchema.safeParse(scheme).success).toBe(false);
});

describe('the name of an event', () => {
  test.each([
    ['github', ['push'], 'github.push'],
    ['github', ['issues', 'opened'], 'github.issues.opened'],
    ['github', ['repository_dispatch', 'on-demand test!'], 'github.repository_dispatch.on-demand_test_'],
    ['stripe', ['customer.subscription.created'], 'stripe.customer.subscription.created'],
    ['shop', ['orders/create'], 'shop.orders.create'],
    ['shop.eu', [], 'shop.eu'],
    ['crm', ['contact:changed '], 'crm.contact.changed'],
  ])('of %s and %j is %s', (prefix, types, name) => {
    expect(webhookEventName(prefix, types)).toBe(name);
  });

  test.each([
    ['an empty type', ['']],
    ['an empty token', ['a..b']],
    ['a type of which nothing is left', ['打开']],
    ['too many tokens', ['a.b.c.d.e.f.g.h']],
    ['too long a type', ['x'.repeat(256)]],
  ])('there is none for %s', (_what, types) => {
    expect(webhookEventName('shop', types)).toBeUndefined();
  });

  test('is always one that a tenant may emit, and begins with the prefix', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 4 }), (types) => {
        const name = webhookEventName('shop', types);
        if (name === undefined) return;
        expect(emittedEventNameSchema.safeParse(name).success).toBe(true);
        expect(name === 'shop' || name.startsWith('shop.')).toBe(true);
      }),
    );
  });

  test('never has the platform’s own prefix', () => {
    expect(webhookEventPrefixSchema.safeParse('ironflow').success).toBe(false);
    expect(webhookEventPrefixSchema.safeParse('ironflow.x').success).toBe(false);
    expect(webhookEventPrefixSchema.safeParse('ironflows').success).toBe(true);
  });
});

describe('a secret', () => {
  const { github, stripe, 'standard-webhooks': standard } = webhookProviders;
  const random = new Uint8Array(32).fill(7);

  test('that is made can be used, as its provider writes it', () => {
    expect(webhookKey(github.scheme, formatWebhookSecret(github.scheme, random))).toHaveLength(64);
    const whsec = formatWebhookSecret(standard.scheme, random);
    expect(whsec).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(webhookKey(standard.scheme, whsec)).toEqual(Buffer.from(random));
    expect(webhookKey(standard.scheme, whsec.slice('whsec_'.length).replace('=', ''))).toEqual(
      Buffer.from(random),
    );
  });

  test('of Stripe is its key as it stands, prefix included', () => {
    expect(webhookKey(stripe.scheme, 'whsec_abc/123')?.toString()).toBe('whsec_abc/123');
  });

  test('that would be decoded in part is refused', () => {
    expect(webhookKey(standard.scheme, 'whsec_%%%%')).toBeUndefined();
    expect(webhookKey(standard.scheme, 'whsec_')).toBeUndefined();
    expect(webhookKey(standard.scheme, 'whsec_AAAA AAAA')).toBeUndefined();
    const hex = webhookSchemeSchema.parse({ ...custom, secret: { encoding: 'hex' } });
    expect(webhookKey(hex, 'ABCD')).toEqual(Buffer.from([0xab, 0xcd]));
    expect(webhookKey(hex, 'abcx')).toBeUndefined();
    expect(webhookKey(hex, 'abc')).toBeUndefined();
  });
});

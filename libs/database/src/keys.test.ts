import { expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import {
  createApiKey,
  createOperatorKey,
  createWebhookAddress,
  hashApiKey,
  isWebhookAddress,
  parseApiKey,
  parseOperatorKey,
} from './keys.js';

const random32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

test('every key is readable, of one length, and different bits give a different key', () => {
  fc.assert(
    fc.property(random32, random32, (a, b) => {
      const key = createApiKey(a);
      expect(key).toMatch(/^ifk_[0-9A-Za-z]{49}$/);
      expect(parseApiKey(key)).toEqual({ ok: true, key });
      expect(createApiKey(b) === key).toBe(Buffer.from(a).equals(Buffer.from(b)));
    }),
  );
});

test('one changed character breaks the checksum', () => {
  fc.assert(
    fc.property(random32, fc.nat(48), fc.constantFrom(...'0Az9'), (bits, index, character) => {
      const key = createApiKey(bits);
      const position = 4 + index;
      const changed = key.slice(0, position) + character + key.slice(position + 1);
      expect(parseApiKey(changed).ok).toBe(changed === key);
    }),
  );
});

test.each([
  ['', 'begins with'],
  ['sk_live_abc', 'begins with'],
  ['ifk_short', '49 letters and digits'],
  [`ifk_${'-'.repeat(49)}`, '49 letters and digits'],
  [`ifk_${'0'.repeat(48)}1`, 'checksum'],
])('%j is refused and the reason says why', (text, reason) => {
  expect(parseApiKey(text)).toMatchObject({ ok: false, reason: expect.stringContaining(reason) });
});

test('the hash of a key depends on the pepper', () => {
  const key = createApiKey(new Uint8Array(32));
  expect(hashApiKey(key, Buffer.from('a'))).not.toEqual(hashApiKey(key, Buffer.from('b')));
  expect(hashApiKey(key, Buffer.from('a'))).toEqual(hashApiKey(key, Buffer.from('a')));
});

test('an address of webhooks is known by its checksum, and is no key', () => {
  const address = createWebhookAddress(new Uint8Array(32).fill(1));
  expect(isWebhookAddress(address)).toBe(true);
  expect(isWebhookAddress(`${address.slice(0, -1)}-`)).toBe(false);
  expect(isWebhookAddress(createApiKey(new Uint8Array(32)))).toBe(false);
  expect(parseApiKey(address).ok).toBe(false);
});

test('a key of an operator and one of an environment are never taken for each other', () => {
  fc.assert(
    fc.property(random32, (bits) => {
      const key = createOperatorKey(bits);
      expect([parseOperatorKey(key).ok, parseApiKey(key).ok]).toEqual([true, false]);
      expect(parseOperatorKey(createApiKey(bits)).ok).toBe(false);
    }),
  );
});

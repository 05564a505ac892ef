import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { sign, signingKeyPrefix, verifySignature } from './signature.js';

const nowMs = 1_700_000_000_000;
const timestamp = String(nowMs / 1_000);
const anyKey = fc
  .uint8Array({ minLength: 24, maxLength: 32 })
  .map((bytes) => `${signingKeyPrefix}${Buffer.from(bytes).toString('base64')}`);
const key = `${signingKeyPrefix}${Buffer.alloc(24, 1).toString('base64')}`;
const other = `${signingKeyPrefix}${Buffer.alloc(24, 2).toString('base64')}`;

test('what is signed verifies, as text and as bytes', () => {
  fc.assert(
    fc.property(anyKey, fc.string(), fc.string({ unit: 'grapheme' }), (anySigningKey, id, body) => {
      const message = { id, timestamp, body };
      const signature = sign(message, [anySigningKey]);
      expect(verifySignature(message, signature, [anySigningKey], nowMs).valid).toBe(true);
      const bytes = { ...message, body: new TextEncoder().encode(body) };
      expect(verifySignature(bytes, signature, [anySigningKey], nowMs).valid).toBe(true);
    }),
  );
});

test('a change to the id, the time, the body or the key is found', () => {
  const message = { id: 'msg_1', timestamp, body: '{"a":1}' };
  const signature = sign(message, [key]);
  const changed = [
    { ...message, id: 'msg_2' },
    { ...message, timestamp: String(Number(timestamp) + 1) },
    { ...message, body: '{"a":2}' },
  ];
  for (const of of changed) expect(verifySignature(of, signature, [key], nowMs).valid).toBe(false);
  expect(verifySignature(message, signature, [other], nowMs).valid).toBe(false);
});

test('while a key is rotated, either side may be ahead', () => {
  const message = { id: 'msg_1', timestamp, body: 'x' };
  expect(verifySignature(message, sign(message, [other, key]), [key], nowMs).valid).toBe(true);
  expect(verifySignature(message, sign(message, [key]), [other, key], nowMs).valid).toBe(true);
  expect(sign(message, [other, key]).split(' ')).toHaveLength(2);
});

test('the time must be within five minutes, either way', () => {
  const message = { id: 'msg_1', timestamp, body: 'x' };
  const signature = sign(message, [key]);
  for (const offMs of [-300_000, 0, 300_000]) {
    expect(verifySignature(message, signature, [key], nowMs + offMs).valid).toBe(true);
  }
  for (const offMs of [-301_000, 301_000]) {
    expect(verifySignature(message, signature, [key], nowMs + offMs)).toMatchObject({
      reason: expect.stringMatching(/off/),
    });
  }
  for (const wrong of ['', 'soon', 'NaN', '1.5']) {
    const late = { ...message, timestamp: wrong };
    expect(verifySignature(late, sign(late, [key]), [key], nowMs).valid).toBe(false);
  }
});

test('whatever a header holds, it neither verifies nor throws', () => {
  const message = { id: 'msg_1', timestamp, body: 'x' };
  fc.assert(fc.property(fc.string(), (header) => !verifySignature(message, header, [key], nowMs).valid));
  for (const header of ['v1', 'v1,', 'v2,AAAA', 'v1,AAAA v1,', ' ']) {
    expect(verifySignature(message, header, [key], nowMs).valid).toBe(false);
  }
  expect(verifySignature(message, sign(message, [key]), [], nowMs).valid).toBe(false);
});

test('is the signature of the Standard Webhooks specification', () => {
  const message = {
    id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    timestamp: '1614265330',
    body: '{"test": 2432232314}',
  };
  const published = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=';
  expect(sign(message, ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'])).toBe(published);
});

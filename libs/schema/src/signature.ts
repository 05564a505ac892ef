/**
 * Signatures in the form of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, `v1,<base64>`, several of them
 * separated by spaces while a key is rotated. A key reads `whsec_<base64>`.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { signatureToleranceSeconds } from './protocol.js';

export const signingKeyPrefix = 'whsec_';

export interface SignedMessage {
  id: string;
  /** Seconds since 1970, as text. */
  timestamp: string;
  body: string | Uint8Array;
}

/** The value of the signature header: one signature per key. */
export function sign(message: SignedMessage, keys: readonly string[]): string {
  return keys.map((key) => `v1,${mac(message, key).toString('base64')}`).join(' ');
}

/** What the answer to a call is signed with in place of the call's id: the one is never taken for the other. */
export function answerIdOf(callId: string): string {
  return `answer.${callId}`;
}

export type SignatureCheck = { valid: true } | { valid: false; reason: string };

/** Whether any signature was made with any of the keys, within the time that is allowed. */
export function verifySignature(
  message: SignedMessage,
  signatureHeader: string,
  keys: readonly string[],
  nowMs: number,
): SignatureCheck {
  const timestamp = Number(message.timestamp);
  if (!Number.isInteger(timestamp)) return { valid: false, reason: 'the timestamp is not a number' };
  if (Math.abs(nowMs / 1_000 - timestamp) > signatureToleranceSeconds) {
    return { valid: false, reason: `the timestamp is off by more than ${signatureToleranceSeconds} s` };
  }
  const given = signatureHeader.split(' ').flatMap((part) => {
    const [version, value] = part.split(',');
    return version === 'v1' && value !== undefined ? [Buffer.from(value, 'base64')] : [];
  });
  const valid = keys.some((key) => {
    const expected = mac(message, key);
    return given.some((bytes) => bytes.length === expected.length && timingSafeEqual(bytes, expected));
  });
  return valid ? { valid } : { valid, reason: 'no signature was made with a known key' };
}

function mac(message: SignedMessage, key: string): Buffer {
  const secret = Buffer.from(
    key.startsWith(signingKeyPrefix) ? key.slice(signingKeyPrefix.length) : key,
    'base64',
  );
  return createHmac('sha256', secret)
    .update(`${message.id}.${message.timestamp}.`)
    .update(message.body)
    .digest();
}

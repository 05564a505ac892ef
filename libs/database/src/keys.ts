/**
 * API keys, keys of operators, the tokens of one-time links, and addresses of webhooks: `ifk_`, `ifo_`, `ifa_` or `ifw_`, 256
 * random bits in base62, and a CRC-32 of them in base62, so that a mistyped one is known without asking anybody. Of keys and tokens only a keyed hash is
 * stored. Pure: randomness and pepper are the caller's.
 */
import { createHmac } from 'node:crypto';
import { crc32 } from 'node:zlib';

export type ParsedApiKey = { ok: true; key: string } | { ok: false; reason: string };

/** `random` is exactly 32 random bytes. */
export function createApiKey(random: Uint8Array): string {
  return createSecret(apiKeyPrefix, random);
}

export function parseApiKey(text: string): ParsedApiKey {
  const rule = brokenRule(text, { prefix: apiKeyPrefix, what: 'an API key' });
  return rule === undefined ? { ok: true, key: text } : { ok: false, reason: rule };
}

/** What is stored and looked up: useless to whoever reads the table without the pepper. */
export function hashApiKey(key: string, pepper: Uint8Array): Buffer {
  return createHmac('sha256', pepper).update(key).digest();
}

/** `random` is exactly 32 random bytes. */
export function createOperatorKey(random: Uint8Array): string {
  return createSecret(operatorKeyPrefix, random);
}

export function parseOperatorKey(text: string): ParsedApiKey {
  const rule = brokenRule(text, { prefix: operatorKeyPrefix, what: 'an operator key' });
  return rule === undefined ? { ok: true, key: text } : { ok: false, reason: rule };
}

export function hashOperatorKey(key: string, pepper: Uint8Array): Buffer {
  return createHmac('sha256', pepper).update(key).digest();
}

/** Of a link: `random` is exactly 32 random bytes. */
export function createLinkToken(random: Uint8Array): string {
  return createSecret(linkTokenPrefix, random);
}

export function isLinkToken(text: string): boolean {
  return brokenRule(text, { prefix: linkTokenPrefix, what: 'a link' }) === undefined;
}

export function hashLinkToken(token: string, pepper: Uint8Array): Buffer {
  return createHmac('sha256', pepper).update(token).digest();
}

/** To be told to a provider, and shown: `random` is exactly 32 random bytes. */
export function createWebhookAddress(random: Uint8Array): string {
  return createSecret(webhookAddressPrefix, random);
}

export function isWebhookAddress(text: string): boolean {
  return brokenRule(text, { prefix: webhookAddressPrefix, what: 'an address' }) === undefined;
}

const apiKeyPrefix = 'ifk_';
const operatorKeyPrefix = 'ifo_';
const linkTokenPrefix = 'ifa_';
const webhookAddressPrefix = 'ifw_';
const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const secretBytes = 32;
/** 62^43 > 2^256, 62^6 > 2^32. */
const secretDigits = 43;
const checksumDigits = 6;

function createSecret(prefix: string, random: Uint8Array): string {
  if (random.length !== secretBytes) throw new RangeError(`a secret takes ${secretBytes} random bytes`);
  const secret = base62(BigInt(`0x${Buffer.from(random).toString('hex')}`), secretDigits);
  return `${prefix}${secret}${checksumOf(secret)}`;
}

function brokenRule(text: string, { prefix, what }: { prefix: string; what: string }): string | undefined {
  if (!text.startsWith(prefix)) return `${what} begins with "${prefix}"`;
  const body = text.slice(prefix.length);
  if (body.length !== secretDigits + checksumDigits || !/^[0-9A-Za-z]+$/.test(body)) {
    return `${what} has ${secretDigits + checksumDigits} letters and digits after "${prefix}"`;
  }
  const secret = body.slice(0, secretDigits);
  if (checksumOf(secret) === body.slice(secretDigits)) return undefined;
  return `the checksum of ${what.replace(/^an? /, 'the ')} does not fit: it was mistyped or cut`;
}

function checksumOf(secret: string): string {
  return base62(BigInt(crc32(secret)), checksumDigits);
}

function base62(value: bigint, length: number): string {
  let rest = value;
  let text = '';
  for (let index = 0; index < length; index += 1) {
    text = digits[Number(rest % 62n)]! + text;
    rest /= 62n;
  }
  return text;
}

import { randomBytes } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { createEnvelope } from './envelope.js';

const environmentId = '01890000-0000-7000-8000-000000000001';
const place = { environmentId, name: 'signing key', version: 1 };
const masterKey = randomBytes(32).toString('base64');
const secrets = createEnvelope(masterKey);
const dataKey = secrets.sealedDataKey({ environmentId, version: 1 });

test('what was sealed opens again, also for another process with the same master key', () => {
  const sealed = secrets.seal(dataKey, place, 'whsec_ümlaut');
  expect(createEnvelope(masterKey).open(dataKey, place, sealed)).toBe('whsec_ümlaut');
  expect(sealed.includes('whsec_')).toBe(false);
});

test('sealing the same twice gives different bytes', () => {
  expect(secrets.seal(dataKey, place, 'a')).not.toEqual(secrets.seal(dataKey, place, 'a'));
});

test('any single changed byte of a secret or of its data key is refused', () => {
  const sealed = secrets.seal(dataKey, place, 'secret');
  for (let index = 0; index < sealed.length; index += 1) {
    const altered = Buffer.from(sealed);
    altered[index]! ^= 1;
    expect(() => secrets.open(dataKey, place, altered)).toThrow(/cannot be opened/);
  }
  const alteredKey = Buffer.from(dataKey.sealed);
  alteredKey[20]! ^= 1;
  expect(() => secrets.open({ ...dataKey, sealed: alteredKey }, place, sealed)).toThrow(/cannot be opened/);
});

test.each([
  { ...place, environmentId: '01890000-0000-7000-8000-000000000002' },
  { ...place, name: 'other' },
  { ...place, version: 2 },
])('a secret moved to %j does not open', (elsewhere) => {
  const sealed = secrets.seal(dataKey, place, 'secret');
  expect(() => secrets.open(dataKey, elsewhere, sealed)).toThrow(/belongs elsewhere/);
});

test('a data key moved to another environment does not open', () => {
  const sealed = secrets.seal(dataKey, place, 'secret');
  const moved = { ...dataKey, environmentId: '01890000-0000-7000-8000-000000000002' };
  expect(() => secrets.open(moved, place, sealed)).toThrow(/cannot be opened/);
});

test('another master key opens nothing and hashes API keys differently', () => {
  const other = createEnvelope(randomBytes(32).toString('base64'));
  expect(() => other.open(dataKey, place, secrets.seal(dataKey, place, 'secret'))).toThrow(
    /another master key/,
  );
  expect(other.apiKeyPepper).not.toEqual(secrets.apiKeyPepper);
});

test('a master key of another length is refused without being repeated in the message', () => {
  const short = randomBytes(16).toString('base64');
  expect(() => createEnvelope(short)).toThrow(/32 bytes in base64/);
  expect(() => createEnvelope(short)).not.toThrow(short);
});

/**
 * Secrets at rest: AES-256-GCM in an envelope. Every environment has data keys of its own, each wrapped by
 * the master key of the installation; a secret is sealed with a data key. Where something belongs is
 * authenticated with it, so that a sealed value moved to another environment, name or version does not open.
 *
 * Sealed bytes are: format (1 byte), IV (12), tag (16), ciphertext.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';

/** What is authenticated with a secret. */
export interface SecretPlace {
  environmentId: string;
  name: string;
  version: number;
}

/** A data key as it is stored: only the master key it names opens it. */
export interface SealedDataKey {
  environmentId: string;
  version: number;
  masterKeyId: string;
  sealed: Uint8Array;
}

export interface Secrets {
  /** Keys the hashes of API keys; derived from the master key, so there is one secret to keep. */
  readonly apiKeyPepper: Uint8Array;
  /** Keys the hashes of one-time links. */
  readonly approvalPepper: Uint8Array;
  /** A fresh data key, wrapped. */
  sealedDataKey(of: { environmentId: string; version: number }): SealedDataKey;
  seal(dataKey: SealedDataKey, place: SecretPlace, plain: string): Buffer;
  /** Refuses (`secret_unreadable`) what was altered, moved, or sealed under another master key. */
  open(dataKey: SealedDataKey, place: SecretPlace, sealed: Uint8Array): string;
}

/** `masterKey` is 32 bytes in base64. */
export function createEnvelope(masterKey: string): Secrets {
  const master = Buffer.from(masterKey, 'base64');
  if (master.length !== keyBytes) {
    throw new IronflowError(
      'invalid',
      'master_key_invalid',
      `the master key must be ${keyBytes} bytes in base64`,
    );
  }
  // The master key itself only derives: wrapping and hashing each have a key of their own.
  const wrappingKey = derive(master, 'ironflow data key wrapping');
  const masterKeyId = createHash('sha256').update(wrappingKey).digest('hex').slice(0, 16);

  const unwrap = (dataKey: SealedDataKey): Buffer => {
    if (dataKey.masterKeyId !== masterKeyId) throw unreadable('it was sealed under another master key');
    return decrypt(wrappingKey, dataKeyPlace(dataKey), dataKey.sealed);
  };
  return {
    apiKeyPepper: derive(master, 'ironflow api key pepper'),
    approvalPepper: derive(master, 'ironflow approval pepper'),
    sealedDataKey: (of) => ({
      ...of,
      masterKeyId,
      sealed: encrypt(wrappingKey, dataKeyPlace(of), randomBytes(keyBytes)),
    }),
    seal: (dataKey, place, plain) => encrypt(unwrap(dataKey), place, Buffer.from(plain, 'utf8')),
    open: (dataKey, place, sealed) => decrypt(unwrap(dataKey), place, sealed).toString('utf8'),
  };
}

const keyBytes = 32;
const ivBytes = 12;
const tagBytes = 16;
const format = 1;
const headerBytes = 1 + ivBytes + tagBytes;

function derive(master: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', master, new Uint8Array(0), purpose, keyBytes));
}

function dataKeyPlace(of: { environmentId: string; version: number }): SecretPlace {
  return { environmentId: of.environmentId, name: 'data key', version: of.version };
}

function encrypt(key: Uint8Array, place: SecretPlace, plain: Uint8Array): Buffer {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(authenticated(place));
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([Buffer.of(format), iv, cipher.getAuthTag(), encrypted]);
}

function decrypt(key: Uint8Array, place: SecretPlace, sealed: Uint8Array): Buffer {
  const bytes = Buffer.from(sealed);
  if (bytes.length < headerBytes || bytes[0] !== format) throw unreadable('it is not of a known format');
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(1, 1 + ivBytes), {
      authTagLength: tagBytes,
    })
      .setAAD(authenticated(place))
      .setAuthTag(bytes.subarray(1 + ivBytes, headerBytes));
    return Buffer.concat([decipher.update(bytes.subarray(headerBytes)), decipher.final()]);
  } catch (error) {
    throw unreadable('it was altered or belongs elsewhere', error);
  }
}

function authenticated(place: SecretPlace): Buffer {
  return Buffer.from(`${place.environmentId}|${place.name}|${place.version}`, 'utf8');
}

function unreadable(why: string, cause?: unknown): IronflowError {
  return new IronflowError('internal', 'secret_unreadable', `a stored secret cannot be opened: ${why}`, {
    cause,
  });
}

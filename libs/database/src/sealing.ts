/**
 * AES-256-GCM with what a value belongs to authenticated. Sealed bytes are: format (1 byte), IV (12), tag (16), ciphertext.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';

/** What is authenticated with a value. An environment's id is of one project and one environment for ever. */
export interface SecretPlace {
  environmentId: string;
  name: string;
  version: number;
}

export const keyBytes = 32;
const ivBytes = 12;
const tagBytes = 16;
const format = 1;
const headerBytes = 1 + ivBytes + tagBytes;

export function encrypt(key: Uint8Array, place: SecretPlace, plain: Uint8Array): Buffer {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(authenticated(place));
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([Buffer.of(format), iv, cipher.getAuthTag(), encrypted]);
}

/** Refuses (`secret_unreadable`) what was altered or moved. */
export function decrypt(key: Uint8Array, place: SecretPlace, sealed: Uint8Array): Buffer {
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

export function unreadable(why: string, cause?: unknown): IronflowError {
  return new IronflowError('internal', 'secret_unreadable', `a stored secret cannot be opened: ${why}`, {
    cause,
  });
}

function authenticated(place: SecretPlace): Buffer {
  return Buffer.from(`${place.environmentId}|${place.name}|${place.version}`, 'utf8');
}

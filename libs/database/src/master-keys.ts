/**
 * The master keys of an installation: the first wraps, all unwrap, so that one takes the place of another while both are known. A
 * master key itself only derives: wrapping and hashing each have a key of their own. Pure.
 */
import { createHash, hkdfSync } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import { decrypt, encrypt, keyBytes, unreadable } from './sealing.js';
import type { SecretPlace } from './sealing.js';

/** Only the master key that it names opens it. */
export interface WrappedKey {
  masterKeyId: string;
  sealed: Uint8Array;
}

/** What the hashes of API keys, and of one-time links, are keyed with. */
export const pepperPurposes = {
  apiKeyPepper: 'ironflow api key pepper',
  approvalPepper: 'ironflow approval pepper',
} as const;
export type PepperName = keyof typeof pepperPurposes;

export interface MasterKeys {
  /** Of the one that wraps. */
  readonly firstId: string;
  knows(masterKeyId: string): boolean;
  wrap(place: SecretPlace, key: Uint8Array): WrappedKey;
  /** Refuses (`secret_unreadable`) what was altered, moved, or wrapped by a key that is not here. */
  unwrap(place: SecretPlace, wrapped: WrappedKey): Buffer;
  /** What a master key was used for before peppers were kept. */
  derivePepper(name: PepperName, masterKeyId: string): Buffer;
}

/** `text` is 32 bytes in base64, or several of those separated by commas. */
export function readMasterKeys(text: string): MasterKeys {
  const keys = text.split(',').map((one) => readMasterKey(one.trim()));
  const first = keys[0]!;
  const byId = new Map(keys.map((key) => [key.id, key]));
  const find = (masterKeyId: string): MasterKey => {
    const key = byId.get(masterKeyId);
    if (key === undefined) throw unreadable('it was sealed under another master key');
    return key;
  };
  return {
    firstId: first.id,
    knows: (masterKeyId) => byId.has(masterKeyId),
    wrap: (place, key) => ({ masterKeyId: first.id, sealed: encrypt(first.wrappingKey, place, key) }),
    unwrap: (place, { masterKeyId, sealed }) => decrypt(find(masterKeyId).wrappingKey, place, sealed),
    derivePepper: (name, masterKeyId) => derive(find(masterKeyId).master, pepperPurposes[name]),
  };
}

interface MasterKey {
  id: string;
  master: Buffer;
  wrappingKey: Buffer;
}

function readMasterKey(text: string): MasterKey {
  const master = Buffer.from(text, 'base64');
  if (master.length !== keyBytes) {
    throw new IronflowError(
      'invalid',
      'master_key_invalid',
      `the master key must be ${keyBytes} bytes in base64`,
    );
  }
  const wrappingKey = derive(master, 'ironflow data key wrapping');
  return { id: createHash('sha256').update(wrappingKey).digest('hex').slice(0, 16), master, wrappingKey };
}

function derive(master: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', master, new Uint8Array(0), purpose, keyBytes));
}

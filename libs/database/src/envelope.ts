/**
 * Secrets at rest: AES-256-GCM in an envelope. Every environment has data keys of its own, each wrapped by
 * the master key of the installation; a secret is sealed with a data key. Where something belongs is
 * authenticated with it, so that a sealed value moved to another environment, name or version does not open.
 */
import { randomBytes } from 'node:crypto';
import { readMasterKeys } from './master-keys.js';
import type { MasterKeys, PepperName, WrappedKey } from './master-keys.js';
import { decrypt, encrypt, keyBytes } from './sealing.js';
import type { SecretPlace } from './sealing.js';

/** A data key as it is stored: only the master key it names opens it. */
export interface SealedDataKey extends WrappedKey {
  environmentId: string;
  version: number;
}

/** What hashes are keyed with: of API keys, and of one-time links. */
export type Peppers = Readonly<Record<PepperName, Uint8Array>>;

export interface Secrets extends Peppers {
  /** A fresh data key, wrapped. */
  sealedDataKey(of: { environmentId: string; version: number }): SealedDataKey;
  seal(dataKey: SealedDataKey, place: SecretPlace, plain: string): Buffer;
  /** Refuses (`secret_unreadable`) what was altered, moved, or sealed under a master key that is not known. */
  open(dataKey: SealedDataKey, place: SecretPlace, sealed: Uint8Array): string;
}

/** `masterKeys` is 32 bytes in base64, or several of those. Without peppers they are derived from the first, as those of a fresh installation. */
export function createEnvelope(masterKeys: string | MasterKeys, peppers?: Peppers): Secrets {
  const keys = typeof masterKeys === 'string' ? readMasterKeys(masterKeys) : masterKeys;
  const unwrap = (dataKey: SealedDataKey): Buffer => keys.unwrap(dataKeyPlace(dataKey), dataKey);
  return {
    apiKeyPepper: peppers?.apiKeyPepper ?? keys.derivePepper('apiKeyPepper', keys.firstId),
    approvalPepper: peppers?.approvalPepper ?? keys.derivePepper('approvalPepper', keys.firstId),
    sealedDataKey: (of) => ({ ...of, ...keys.wrap(dataKeyPlace(of), randomBytes(keyBytes)) }),
    seal: (dataKey, place, plain) => encrypt(unwrap(dataKey), place, Buffer.from(plain, 'utf8')),
    open: (dataKey, place, sealed) => decrypt(unwrap(dataKey), place, sealed).toString('utf8'),
  };
}

export function dataKeyPlace(of: { environmentId: string; version: number }): SecretPlace {
  return { environmentId: of.environmentId, name: 'data key', version: of.version };
}

/** `client.keys` and `client.signingKeys`: those of the key's own environment. */
import type { ApiKey, CreatedKey, CreatedSigningKey, NewKey, SigningKeyResource } from '@ironflow/schema';
import { parseDuration } from '../duration.js';
import type { Duration } from '../duration.js';
import type { Http } from './http.js';

export interface OverlapOptions {
  /** How long what was there before is good as well, at most 30 days. Default: a day; with 0 it is good no more. */
  overlap?: Duration;
}

export interface RotateKeyOptions extends OverlapOptions {
  /** Of the new key; by default that of the one it replaces. */
  expiresAt?: string;
}

export interface Keys {
  /** The newest first; those that ended within 30 days among them. */
  list(): Promise<ApiKey[]>;
  /** It may do no more than the key that asks. Not repeated when it is not answered: list the keys then, and revoke what nobody has. */
  create(key: NewKey): Promise<CreatedKey>;
  /** Makes a key in the place of another, of the same name, role and scopes. Not repeated either. */
  rotate(id: string, options?: RotateKeyOptions): Promise<CreatedKey>;
  /** Rejects with `last_admin_key` for the last one that can make others. */
  revoke(id: string): Promise<ApiKey>;
}

export interface SigningKeys {
  /** Those that calls of push endpoints are signed with, the newest first. */
  list(): Promise<SigningKeyResource[]>;
  /** Not repeated when it is not answered. */
  rotate(options?: OverlapOptions): Promise<CreatedSigningKey>;
}

export function createKeys(http: Http): Keys {
  const pathOf = (id: string, rest = '') => `/v1/keys/${encodeURIComponent(id)}${rest}`;
  return {
    list: async () => (await http.json<{ keys: ApiKey[] }>({ method: 'GET', path: '/v1/keys' })).keys,
    create: (key) => http.once({ method: 'POST', path: '/v1/keys', body: JSON.stringify(key) }),
    rotate: async (id, { overlap, expiresAt } = {}) => {
      const body = JSON.stringify({ ...overlapOf(overlap), expiresAt });
      return http.once({ method: 'POST', path: pathOf(id, '/rotate'), body });
    },
    revoke: (id) => http.json({ method: 'DELETE', path: pathOf(id) }),
  };
}

export function createSigningKeys(http: Http): SigningKeys {
  return {
    list: async () => {
      const path = '/v1/signing-keys';
      return (await http.json<{ signingKeys: SigningKeyResource[] }>({ method: 'GET', path })).signingKeys;
    },
    rotate: async ({ overlap } = {}) => {
      const body = JSON.stringify(overlapOf(overlap));
      return http.once({ method: 'POST', path: '/v1/signing-keys/rotate', body });
    },
  };
}

function overlapOf(overlap: Duration | undefined): { overlapSeconds?: number } {
  return overlap === undefined ? {} : { overlapSeconds: Math.ceil(parseDuration(overlap) / 1_000) };
}

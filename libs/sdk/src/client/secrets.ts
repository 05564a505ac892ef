/** `client.secrets`: secrets of the environment. A value that was read is kept out of logs and recorded errors of this process. */
import type { DeletedSecret, RotatedDataKey, Secret, SecretValues } from '@ironflow/schema';
import { keepSecret } from '../redaction.js';
import { IronflowApiError } from './api-error.js';
import type { Http } from './http.js';

export interface Secrets {
  /** The value now, for a developer's key. Rejects with `secret_not_found`. */
  get(name: string, options?: { signal?: AbortSignal }): Promise<string>;
  /** A new version; running functions have it within half a minute. Names are as of variables: `STRIPE_KEY`. At most 64 KiB. */
  set(name: string, value: string): Promise<Secret>;
  /** Names and versions; no values. */
  list(): Promise<Secret[]>;
  describe(name: string): Promise<Secret>;
  /** With all its versions. */
  delete(name: string): Promise<DeletedSecret>;
  /** Seals everything of the environment with a new data key; no value changes. For an admin's key. */
  rotateDataKey(): Promise<RotatedDataKey>;
}

export function createSecrets(http: Http): Secrets {
  const pathOf = (name: string): string => `/v1/secrets/${encodeURIComponent(name)}`;
  return {
    get: async (name, { signal } = {}) => {
      const body = JSON.stringify({ names: [name] });
      const { secrets } = await http.json<SecretValues>({
        ...{ method: 'POST', path: '/v1/secrets/values', body, signal },
      });
      const value = secrets.find((secret) => secret.name === name)?.value;
      if (value === undefined) throw secretNotFound(name);
      keepSecret(value);
      return value;
    },
    set: async (name, value) => {
      keepSecret(value);
      return http.json({ method: 'PUT', path: pathOf(name), body: JSON.stringify({ value }) });
    },
    list: async () => {
      const { secrets } = await http.json<{ secrets: Secret[] }>({ method: 'GET', path: '/v1/secrets' });
      return secrets;
    },
    describe: (name) => http.json({ method: 'GET', path: pathOf(name) }),
    delete: (name) => http.json({ method: 'DELETE', path: pathOf(name) }),
    rotateDataKey: () => http.json({ method: 'POST', path: '/v1/secrets/rotate-data-key' }),
  };
}

export function secretNotFound(name: string): IronflowApiError {
  const message = `there is no secret "${name}" in this environment`;
  return new IronflowApiError({ status: 404, code: 'secret_not_found', message });
}

/** `client.credentials`: credentials for NATS, with which events are emitted by publishing them. */
import type { CreatedCredential, Credential } from '@ironflow/schema';
import { parseDuration } from '../duration.js';
import type { Duration } from '../duration.js';
import type { Http } from './http.js';

export interface NewCredential {
  /** For people, and for the monitoring of the servers. */
  name: string;
  /** At most a year. Default: 90 days. */
  expiresIn?: Duration;
}

export interface Credentials {
  /**
   * The answer alone has the creds file's text. Rejects with `direct_nats_unavailable` where the platform gives no direct access to
   * NATS.
   */
  create(credential: NewCredential): Promise<CreatedCredential>;
  /** Newest first; those that have expired are left out. */
  list(): Promise<Credential[]>;
  /** Its connections are closed at once. */
  revoke(id: string): Promise<Credential>;
}

export function createCredentials(http: Http): Credentials {
  return {
    create: ({ name, expiresIn }) => {
      const expiresInSeconds =
        expiresIn === undefined ? undefined : Math.ceil(parseDuration(expiresIn) / 1_000);
      const body = JSON.stringify({ name, expiresInSeconds });
      return http.json({ method: 'POST', path: '/v1/credentials', body });
    },
    list: async () => {
      const answer = await http.json<{ credentials: Credential[] }>({
        method: 'GET',
        path: '/v1/credentials',
      });
      return answer.credentials;
    },
    revoke: (id) => http.json({ method: 'DELETE', path: `/v1/credentials/${encodeURIComponent(id)}` }),
  };
}

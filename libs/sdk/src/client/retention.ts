/** `client.retention`: for how long the environment keeps events, and runs once they have ended. */
import type { RetentionResource } from '@ironflow/schema';
import type { Http } from './http.js';

export interface RetentionClient {
  get(): Promise<RetentionResource>;
  /** From 2 days on; null: as the installation does. What is older by then is removed within hours, and does not come back. */
  set(days: number | null): Promise<RetentionResource>;
}

export function createRetention(http: Http): RetentionClient {
  return {
    get: () => http.json({ method: 'GET', path: '/v1/retention' }),
    set: (days) => http.json({ method: 'PUT', path: '/v1/retention', body: JSON.stringify({ days }) }),
  };
}

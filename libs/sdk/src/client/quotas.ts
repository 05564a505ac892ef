/** `client.quotas`: what the environment may use, and what it uses. */
import type { QuotasResource } from '@ironflow/schema';
import type { Http } from './http.js';

export interface QuotasClient {
  /** An operator sets them: `createOperatorClient`. */
  get(): Promise<QuotasResource>;
}

export function createQuotas(http: Http): QuotasClient {
  return {
    get: () => http.json({ method: 'GET', path: '/v1/quotas' }),
  };
}

/** `client.quotas`: what the environment may use, and what it uses. */
import type { QuotasResource, SetQuotasBody } from '@ironflow/schema';
import type { Http } from './http.js';

export interface QuotasClient {
  get(): Promise<QuotasResource>;
  /** What is not named stays as it is; null is the platform's default. */
  set(quotas: SetQuotasBody): Promise<QuotasResource>;
}

export function createQuotas(http: Http): QuotasClient {
  return {
    get: () => http.json({ method: 'GET', path: '/v1/quotas' }),
    set: (quotas) => http.json({ method: 'PUT', path: '/v1/quotas', body: JSON.stringify(quotas) }),
  };
}

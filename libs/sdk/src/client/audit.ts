/** `client.audit`: who did what in the environment. Takes a key of role admin. */
import type { AuditPage, AuditQuery, AuditVerdict } from '@ironflow/schema';
import type { Http } from './http.js';

export interface Audit {
  /** The newest first, unless it is asked for otherwise. */
  list(query?: Partial<AuditQuery>): Promise<AuditPage>;
  /** What the platform says of its own log. Whoever does not take its word lists the entries and checks their hashes. */
  verify(): Promise<AuditVerdict>;
}

export function createAudit(http: Http): Audit {
  return {
    list: (query = {}) => http.json({ method: 'GET', path: '/v1/audit', query: { ...query } }),
    verify: () => http.json({ method: 'GET', path: '/v1/audit/verify' }),
  };
}

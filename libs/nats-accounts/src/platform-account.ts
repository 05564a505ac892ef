/**
 * The account that all streams and services are in. What it exports asks for an activation token, so that which account imports
 * what is decided by whoever signs those tokens, and the account's own claims never change for a new tenant.
 */
import type { Account } from '@nats-io/jwt';
import { subjectFilters } from '@ironflow/schema';
import { platformLimits } from './account-limits.js';

export const ingestExportName = 'ingest';

/** `signingKey`: the public key that signs activation tokens, while the account's own key is kept offline. */
export function platformClaims(signingKey: string): Account {
  return {
    limits: platformLimits,
    exports: [
      {
        name: ingestExportName,
        subject: subjectFilters.everyDirectIngested,
        type: 'service',
        token_req: true,
        response_type: 'Singleton',
      },
    ],
    signing_keys: [signingKey],
  } as Account;
}

/**
 * Who sends an API key. The environment is not known before, so this goes through the one function that may
 * look beyond row-level security (`find_api_key`); what it answers is trusted for ten seconds, revocation included, or
 * until somebody says that the keys of its environment have changed.
 */
import type { KeyRole, Scope } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';
import type { Secrets } from './envelope.js';
import { hashApiKey, parseApiKey } from './keys.js';
import { createTimedCache } from './timed-cache.js';

export interface Principal {
  scope: Scope;
  keyId: string;
  role: KeyRole;
  /** Empty: all that the role allows. */
  scopes: string[];
  /** Its environment is: the key is known, and may do nothing. */
  archived: boolean;
}

export interface AuthenticatorOptions {
  /** Milliseconds of a clock that never goes back; the process's own by default. */
  elapsedMs?: () => number;
}

export interface Authenticator {
  /** `undefined` for anything that is not a live key. */
  authenticate(apiKey: string): Promise<Principal | undefined>;
}

export interface RememberingAuthenticator extends Authenticator {
  /** The keys of this environment are read again. */
  forget(environmentId: string): void;
}

const cached = { entriesMax: 10_000, lifetimeMs: 10_000 };

export function createAuthenticator(
  database: Database,
  secrets: Secrets,
  options: AuthenticatorOptions = {},
): RememberingAuthenticator {
  const cache = createTimedCache<Principal | undefined>({ ...cached, elapsedMs: options.elapsedMs });
  return {
    authenticate: async (apiKey) => {
      // A mistyped or invented key costs a checksum and reaches neither cache nor database.
      if (!parseApiKey(apiKey).ok) return undefined;
      const hash = hashApiKey(apiKey, secrets.apiKeyPepper);
      return cache.get(hash.toString('base64'), async () => {
        const rows = await database.query<PrincipalRow>(authenticate, [hash]);
        return rows[0] === undefined ? undefined : toPrincipal(rows[0]);
      });
    },
    // Of what was no key it is not known whose it would be: it may be one by now.
    forget: (environmentId) =>
      cache.forget((principal) => (principal?.scope.environmentId ?? environmentId) === environmentId),
  };
}

/** When keys were used, to the minute: those of one environment or of many. */
export async function recordKeyUse(database: Queryable, keyIds: readonly string[]): Promise<void> {
  await database.query(recordUse, [keyIds]);
}

interface PrincipalRow extends ScopeRow {
  key_id: string;
  role: KeyRole;
  scopes: string[];
  archived: boolean;
}

const authenticate: Statement = {
  name: 'find_api_key',
  text: 'select key_id, environment_id, project, env, role, scopes, archived from find_api_key($1)',
};

const recordUse: Statement = { name: 'record_key_use', text: 'select record_key_use($1::uuid[])' };

function toPrincipal(row: PrincipalRow): Principal {
  return {
    scope: scopeOf(row),
    keyId: row.key_id,
    role: row.role,
    scopes: row.scopes,
    archived: row.archived,
  };
}

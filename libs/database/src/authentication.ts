/**
 * Who sends an API key. The environment is not known before, so this goes through the one function that may
 * look beyond row-level security (`authenticate_api_key`); what it answers is trusted for ten seconds,
 * revocation included.
 */
import type { KeyRole, Scope } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';
import type { Secrets } from './envelope.js';
import { hashApiKey, parseApiKey } from './keys.js';
import { createTimedCache } from './timed-cache.js';

export interface Principal {
  scope: Scope;
  keyId: string;
  role: KeyRole;
  /** Always empty: all that the role allows. Nothing checks scopes yet, so a key that has any is not live. */
  scopes: string[];
}

export interface AuthenticatorOptions {
  /** Milliseconds of a clock that never goes back; the process's own by default. */
  elapsedMs?: () => number;
}

export interface Authenticator {
  /** `undefined` for anything that is not a live key. */
  authenticate(apiKey: string): Promise<Principal | undefined>;
}

const cached = { entriesMax: 10_000, lifetimeMs: 10_000 };

export function createAuthenticator(
  database: Database,
  secrets: Secrets,
  options: AuthenticatorOptions = {},
): Authenticator {
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
  };
}

interface PrincipalRow extends ScopeRow {
  key_id: string;
  role: KeyRole;
  scopes: string[];
}

const authenticate: Statement = {
  name: 'authenticate_api_key',
  text: 'select key_id, environment_id, project, env, role, scopes from authenticate_api_key($1)',
};

function toPrincipal(row: PrincipalRow): Principal {
  return {
    scope: scopeOf(row),
    keyId: row.key_id,
    role: row.role,
    scopes: row.scopes,
  };
}

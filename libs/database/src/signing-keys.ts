/**
 * Signing keys, managed within their environment: they are made and listed here, sealed, and never opened. Who signs reads them
 * through tenants.ts.
 */
import { randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import { createId, limits, signingKeyPrefix } from '@ironflow/schema';
import type { CreatedSigningKey, SigningKeyResource } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import type { Secrets } from './envelope.js';
import type { SecretPlace } from './sealing.js';
import { newestDataKey } from './data-keys.js';

export interface SigningKeyStore {
  /** Those that calls are signed with, the newest first. */
  list(environmentId: string): Promise<SigningKeyResource[]>;
  /** Those before are good for the overlap at most. Rejects with `too_many_signing_keys`. */
  rotate(environmentId: string, overlapSeconds: number): Promise<CreatedSigningKey>;
}

export function createSigningKeyStore(database: Database, secrets: Secrets): SigningKeyStore {
  return {
    list: async (environmentId) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<SigningKeyRow>(listStatement, [environmentId]),
      );
      return rows.map(toSigningKey);
    },
    rotate: (environmentId, overlapSeconds) =>
      database.inEnvironment(environmentId, (transaction) =>
        rotate(transaction, secrets, { environmentId, overlapSeconds }),
      ),
  };
}

export function createSigningKey(): string {
  return `${signingKeyPrefix}${randomBytes(32).toString('base64')}`;
}

/** Where a signing key belongs, authenticated with it. */
export function signingKeyPlace(environmentId: string, version: number): SecretPlace {
  return { environmentId, name: 'signing key', version };
}

async function rotate(
  transaction: Queryable,
  secrets: Secrets,
  { environmentId, overlapSeconds }: { environmentId: string; overlapSeconds: number },
): Promise<CreatedSigningKey> {
  await transaction.query(lockStatement, [environmentId]);
  // Before any row of it is locked: a rotation of the data key holds that, and then waits for rows.
  const dataKey = await newestDataKey(transaction, environmentId);
  await transaction.query(expireStatement, [environmentId, overlapSeconds]);
  const [known] = await transaction.query<{ live: number; newest: number }>(knownStatement, [environmentId]);
  if (known!.live >= limits.signingKeysMax) {
    const rule = `calls are signed with ${limits.signingKeysMax} keys already: wait until some have ended, or rotate with no overlap`;
    throw new IronflowError('conflict', 'too_many_signing_keys', rule);
  }
  const version = known!.newest + 1;
  const signingKey = createSigningKey();
  const sealed = secrets.seal(dataKey, signingKeyPlace(environmentId, version), signingKey);
  const [row] = await transaction.query<SigningKeyRow>(createStatement, [
    createId(Date.now(), randomBytes(10)),
    environmentId,
    version,
    dataKey.version,
    sealed,
  ]);
  return { ...toSigningKey(row!), signingKey };
}

interface SigningKeyRow {
  version: number;
  created_at: Date;
  expires_at: Date | null;
}

function toSigningKey(row: SigningKeyRow): SigningKeyResource {
  return {
    version: row.version,
    createdAt: row.created_at.toISOString(),
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at.toISOString() }),
  };
}

const isLive = 'revoked_at is null and coalesce(expires_at > now(), true)';

const lockStatement: Statement = {
  name: 'lock_signing_keys',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.signing_keys.' || $1, 0))`,
};
const listStatement: Statement = {
  name: 'list_signing_keys',
  text: `select version, created_at, expires_at from signing_keys
    where environment_id = $1 and ${isLive} order by version desc`,
};
const expireStatement: Statement = {
  name: 'expire_signing_keys',
  text: `update signing_keys set expires_at = least(expires_at, now() + $2::float8 * interval '1 second')
    where environment_id = $1 and ${isLive}`,
};
// Those that have ended keep their versions.
const knownStatement: Statement = {
  name: 'known_signing_keys',
  text: `select count(*) filter (where ${isLive})::int as live, coalesce(max(version), 0) as newest
    from signing_keys where environment_id = $1`,
};
const createStatement: Statement = {
  name: 'create_signing_key',
  text: `insert into signing_keys (id, environment_id, version, data_key_version, sealed)
    values ($1, $2, $3, $4, $5) returning version, created_at, expires_at`,
};

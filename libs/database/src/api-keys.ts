/**
 * API keys, managed within their environment. Of a key only a keyed hash is stored, and that is not read here: who a caller is
 * decides authentication.ts. Changes of one environment's keys go one after the other, so that of two who revoke the last two
 * keys at once only one does.
 */
import { randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import { createId, limits } from '@ironflow/schema';
import type { ApiKey, CreatedKey, CreateKeyBody, KeyGrant, KeyRole, RotateKeyBody } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import type { Secrets } from './envelope.js';
import { refusalOfRevocation, refusalOfRotation } from './key-rules.js';
import type { RotationRefusal } from './key-rules.js';
import { createApiKey, hashApiKey } from './keys.js';

export type RotationOutcome = { kind: 'rotated'; key: CreatedKey } | { kind: RotationRefusal };
export type RevocationOutcome =
  { kind: 'revoked'; key: ApiKey } | { kind: 'not_found' } | { kind: 'last_admin' };

export interface ApiKeyStore {
  /** The newest first; those that ended within 30 days among them. */
  list(environmentId: string): Promise<ApiKey[]>;
  /** Rejects with `too_many_keys` or `expiry_in_the_past`. Whether the caller may is asked before. */
  create(environmentId: string, key: CreateKeyBody): Promise<CreatedKey>;
  /** The one before is good for the overlap at most. Rejects as `create` does. */
  rotate(
    environmentId: string,
    rotation: RotateKeyBody & { id: string; by: KeyGrant },
  ): Promise<RotationOutcome>;
  /** Also one that has ended already. */
  revoke(environmentId: string, id: string): Promise<RevocationOutcome>;
}

export function createApiKeyStore(database: Database, secrets: Secrets): ApiKeyStore {
  return {
    list: async (environmentId) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<KeyRow>(listStatement, [environmentId]),
      );
      return rows.map(toApiKey);
    },
    create: (environmentId, { name, role, scopes, expiresAt = null }) =>
      inTurn(database, environmentId, (transaction) =>
        addKey(transaction, secrets, { environmentId, name, role, scopes, expiresAt }),
      ),
    rotate: (environmentId, rotation) =>
      inTurn(database, environmentId, (transaction) =>
        rotateKey(transaction, secrets, { ...rotation, environmentId }),
      ),
    revoke: (environmentId, id) =>
      inTurn(database, environmentId, async (transaction): Promise<RevocationOutcome> => {
        const keys = await readKeys(transaction, environmentId);
        const refusal = refusalOfRevocation(keys, id);
        if (refusal !== undefined) return { kind: refusal };
        const [row] = await transaction.query<KeyRow>(revokeStatement, [environmentId, id]);
        return { kind: 'revoked', key: toApiKey(row!) };
      }),
  };
}

function inTurn<T>(
  database: Database,
  environmentId: string,
  work: (transaction: Queryable) => Promise<T>,
): Promise<T> {
  return database.inEnvironment(environmentId, async (transaction) => {
    await transaction.query(lockStatement, [environmentId]);
    return work(transaction);
  });
}

interface NewKeyRow {
  environmentId: string;
  name: string;
  role: KeyRole;
  scopes: readonly string[];
  expiresAt: string | null;
}

async function addKey(transaction: Queryable, secrets: Secrets, key: NewKeyRow): Promise<CreatedKey> {
  const { environmentId, name, role, scopes, expiresAt } = key;
  const [counted] = await transaction.query<{ live: number; in_time: boolean }>(countStatement, [
    environmentId,
    expiresAt,
  ]);
  if (!counted!.in_time) throw expiryInThePast();
  if (counted!.live >= limits.apiKeysMax) {
    const rule = `an environment has at most ${limits.apiKeysMax} live keys: revoke some`;
    throw new IronflowError('conflict', 'too_many_keys', rule);
  }
  const text = createApiKey(randomBytes(32));
  const [row] = await transaction.query<KeyRow>(createStatement, [
    createId(Date.now(), randomBytes(10)),
    environmentId,
    name,
    hashApiKey(text, secrets.apiKeyPepper),
    role,
    scopes,
    expiresAt,
  ]);
  return { ...toApiKey(row!), key: text };
}

async function rotateKey(
  transaction: Queryable,
  secrets: Secrets,
  {
    environmentId,
    id,
    by,
    overlapSeconds,
    expiresAt,
  }: RotateKeyBody & {
    environmentId: string;
    id: string;
    by: KeyGrant;
  },
): Promise<RotationOutcome> {
  const keys = await readKeys(transaction, environmentId);
  const refusal = refusalOfRotation(keys, id, by);
  if (refusal !== undefined) return { kind: refusal };
  const [before] = await transaction.query<ReplacedRow>(replaceStatement, [
    environmentId,
    id,
    overlapSeconds,
  ]);
  const { name, role, scopes, own_expires_at: ownExpiry } = before!;
  const key = await addKey(transaction, secrets, {
    environmentId,
    name,
    role,
    scopes,
    expiresAt: expiresAt ?? ownExpiry?.toISOString() ?? null,
  });
  return { kind: 'rotated', key };
}

export function expiryInThePast(): IronflowError {
  return new IronflowError('invalid', 'expiry_in_the_past', 'must be in the future', { field: 'expiresAt' });
}

async function readKeys(transaction: Queryable, environmentId: string): Promise<KeyRow[]> {
  return transaction.query<KeyRow>(listStatement, [environmentId]);
}

interface ReplacedRow {
  name: string;
  role: KeyRole;
  scopes: string[];
  own_expires_at: Date | null;
}

interface KeyRow {
  id: string;
  name: string;
  role: KeyRole;
  scopes: string[];
  created_at: Date;
  expires_at: Date | null;
  revoked_at: Date | null;
  last_used_at: Date | null;
  replaced: boolean;
  live: boolean;
}

function toApiKey(row: KeyRow): ApiKey {
  const { id, name, role, scopes, replaced } = row;
  const ended = row.revoked_at === null ? 'expired' : 'revoked';
  return {
    id,
    name,
    role,
    scopes,
    status: row.live ? 'live' : ended,
    createdAt: row.created_at.toISOString(),
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at.toISOString() }),
    replaced,
    ...(row.revoked_at === null ? {} : { revokedAt: row.revoked_at.toISOString() }),
    ...(row.last_used_at === null ? {} : { lastUsedAt: row.last_used_at.toISOString() }),
  };
}

const expiry = 'least(expires_at, replaced_until)';
const isLive = `revoked_at is null and coalesce(${expiry} > now(), true)`;
const columns = `id, name, role, scopes, created_at, ${expiry} as expires_at, revoked_at, last_used_at,
    replaced_until is not null as replaced, ${isLive} as live`;

const lockStatement: Statement = {
  name: 'lock_api_keys',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.api_keys.' || $1, 0))`,
};
const listStatement: Statement = {
  name: 'list_api_keys',
  text: `select ${columns} from api_keys where environment_id = $1
      and coalesce(revoked_at, ${expiry}, 'infinity') > now() - interval '30 days'
    order by id desc limit 1000`,
};
const countStatement: Statement = {
  name: 'count_api_keys',
  text: `select count(*)::int as live, coalesce($2::timestamptz > now(), true) as in_time
    from api_keys where environment_id = $1 and ${isLive}`,
};
const createStatement: Statement = {
  name: 'create_api_key',
  text: `insert into api_keys (id, environment_id, name, key_hash, role, scopes, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7) returning ${columns}`,
};
const replaceStatement: Statement = {
  name: 'replace_api_key',
  text: `update api_keys set
      replaced_until = least(replaced_until, now() + $3::float8 * interval '1 second')
    where environment_id = $1 and id = $2 returning name, role, scopes, expires_at as own_expires_at`,
};
const revokeStatement: Statement = {
  name: 'revoke_api_key',
  text: `update api_keys set revoked_at = coalesce(revoked_at, now())
    where environment_id = $1 and id = $2 returning ${columns}`,
};

/**
 * Keys of operators, of no environment: as ironflow_service. Of a key only a keyed hash is stored. They are asked for seldom, so nothing
 * of them is remembered, and one that is revoked is so at once.
 */
import { randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import { createId, limits } from '@ironflow/schema';
import type { CreatedOperatorKey, CreateOperatorKeyBody, OperatorKey } from '@ironflow/schema';
import { expiryInThePast } from './api-keys.js';
import type { Database, Statement } from './database.js';
import type { Secrets } from './envelope.js';
import { createOperatorKey, hashOperatorKey, parseOperatorKey } from './keys.js';

export interface OperatorKeyStore {
  /** Whose it is, if it is a live one. */
  authenticate(key: string): Promise<{ id: string; name: string } | undefined>;
  /** The newest first; those that ended within 30 days among them. */
  list(): Promise<OperatorKey[]>;
  /** Rejects with `too_many_keys` or `expiry_in_the_past`. */
  create(key: CreateOperatorKeyBody): Promise<CreatedOperatorKey>;
  /** `undefined` when there is none of that id. */
  revoke(id: string): Promise<OperatorKey | undefined>;
}

/** A fresh one, which nobody knows yet: for IRONFLOW_OPERATOR_KEY, or to be stored. */
export function generateOperatorKey(): string {
  return createOperatorKey(randomBytes(32));
}

export function createOperatorKeyStore(database: Database, secrets: Secrets): OperatorKeyStore {
  return {
    authenticate: async (key) => {
      if (!parseOperatorKey(key).ok) return undefined;
      const [row] = await database.query<{ id: string; name: string }>(authenticateStatement, [
        hashOperatorKey(key, secrets.apiKeyPepper),
      ]);
      return row;
    },
    list: async () => (await database.query<OperatorKeyRow>(listStatement, [])).map(toOperatorKey),
    create: async ({ name, expiresAt = null }) => {
      const [counted] = await database.query<{ live: number; in_time: boolean }>(countStatement, [expiresAt]);
      if (!counted!.in_time) throw expiryInThePast();
      if (counted!.live >= limits.operatorKeysMax) {
        const rule = `there are at most ${limits.operatorKeysMax} live keys of operators: revoke some`;
        throw new IronflowError('conflict', 'too_many_keys', rule);
      }
      const key = generateOperatorKey();
      const [row] = await database.query<OperatorKeyRow>(createStatement, [
        createId(Date.now(), randomBytes(10)),
        name,
        hashOperatorKey(key, secrets.apiKeyPepper),
        expiresAt,
      ]);
      return { ...toOperatorKey(row!), key };
    },
    revoke: async (id) => {
      const [row] = await database.query<OperatorKeyRow>(revokeStatement, [id]);
      return row === undefined ? undefined : toOperatorKey(row);
    },
  };
}

interface OperatorKeyRow {
  id: string;
  name: string;
  created_at: Date;
  expires_at: Date | null;
  revoked_at: Date | null;
  live: boolean;
}

function toOperatorKey(row: OperatorKeyRow): OperatorKey {
  const ended = row.revoked_at === null ? 'expired' : 'revoked';
  return {
    id: row.id,
    name: row.name,
    status: row.live ? 'live' : ended,
    createdAt: row.created_at.toISOString(),
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at.toISOString() }),
    ...(row.revoked_at === null ? {} : { revokedAt: row.revoked_at.toISOString() }),
  };
}

const isLive = 'revoked_at is null and coalesce(expires_at > now(), true)';
const columns = `id, name, created_at, expires_at, revoked_at, ${isLive} as live`;

const authenticateStatement: Statement = {
  name: 'authenticate_operator_key',
  text: `select id, name from operator_keys where key_hash = $1 and ${isLive}`,
};
const listStatement: Statement = {
  name: 'list_operator_keys',
  text: `select ${columns} from operator_keys
    where coalesce(revoked_at, expires_at, 'infinity') > now() - interval '30 days' order by id desc limit 1000`,
};
const countStatement: Statement = {
  name: 'count_operator_keys',
  text: `select count(*)::int as live, coalesce($1::timestamptz > now(), true) as in_time
    from operator_keys where ${isLive}`,
};
const createStatement: Statement = {
  name: 'create_operator_key',
  text: `insert into operator_keys (id, name, key_hash, expires_at) values ($1, $2, $3, $4) returning ${columns}`,
};
const revokeStatement: Statement = {
  name: 'revoke_operator_key',
  text: `update operator_keys set revoked_at = coalesce(revoked_at, now()) where id = $1 returning ${columns}`,
};

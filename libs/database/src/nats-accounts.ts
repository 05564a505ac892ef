/**
 * Accounts of environments at NATS servers, and their credentials. Owns `nats_accounts` and `nats_credentials`; keys and tokens are
 * made by its caller.
 *
 * Whatever changes what servers know of an account tells them within the transaction, and one at a time: what they know last is
 * what is stored. If they cannot be told, nothing has changed.
 */
import { randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import { createId, limits } from '@ironflow/schema';
import type { CreateCredentialBody, Credential, Scope } from '@ironflow/schema';
import { newestDataKey } from './data-keys.js';
import type { Database, Queryable, Statement } from './database.js';
import { scopeColumns, scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';
import type { Secrets } from './envelope.js';
import type { SecretPlace } from './sealing.js';

/** What servers are to know of an account. */
export interface NatsAccount {
  scope: Scope;
  publicKey: string;
  /** Public keys of users that are not let in, as long as their tokens would be valid. */
  revokedUsers: string[];
}

export interface NatsAccountKeys {
  publicKey: string;
  seed: string;
}

export interface NatsCredentialRequest extends CreateCredentialBody {
  /** For an environment that has no account yet. */
  makeAccount(): NatsAccountKeys;
  makeUser(of: {
    accountSeed: string;
    name: string;
    expiresAtMs: number;
  }): Promise<{ publicKey: string; text: string }>;
  tellServers(account: NatsAccount): Promise<void>;
}

export interface NatsAccountStore {
  /** Rejects with `too_many_credentials`. `text` is what the user connects with, and is not kept. */
  create(scope: Scope, request: NatsCredentialRequest): Promise<{ credential: Credential; text: string }>;
  /** Newest first; those that have expired are left out. */
  list(environmentId: string): Promise<Credential[]>;
  /** `undefined` when there is none of that id. Once more tells the servers once more. */
  revoke(
    scope: Scope,
    id: string,
    tellServers: NatsCredentialRequest['tellServers'],
  ): Promise<Credential | undefined>;
}

export function createNatsAccountStore(database: Database, secrets: Secrets): NatsAccountStore {
  return {
    create: (scope, request) =>
      database.inEnvironment(scope.environmentId, (transaction) =>
        createCredential({ transaction, secrets, scope }, request),
      ),
    list: async (environmentId) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<CredentialRow>(listStatement, [environmentId]),
      );
      return rows.map(toCredential);
    },
    revoke: (scope, id, tellServers) =>
      database.inEnvironment(scope.environmentId, async (transaction) => {
        const { environmentId } = scope;
        await transaction.query(lockStatement, [environmentId]);
        const [row] = await transaction.query<CredentialRow>(revokeStatement, [environmentId, id]);
        if (row === undefined) return undefined;
        const account = await readAccount(transaction, scope);
        await tellServers(account!);
        return toCredential(row);
      }),
  };
}

/** Of every environment that has one. Needs ironflow_service. */
export async function listNatsAccounts(database: Database): Promise<Scope[]> {
  const rows = await database.query<ScopeRow>(listAccountsStatement, []);
  return rows.map(scopeOf);
}

/** By their environments' ids. Needs ironflow_service. */
export async function listNatsAccountKeys(
  database: Pick<Database, 'query'>,
): Promise<Pick<NatsAccount, 'scope' | 'publicKey'>[]> {
  const rows = await database.query<ScopeRow & { public_key: string }>(listKeysStatement, []);
  return rows.map((row) => ({ scope: scopeOf(row), publicKey: row.public_key }));
}

/** Whose account that is. Needs ironflow_service. */
export async function findNatsAccount(database: Database, publicKey: string): Promise<Scope | undefined> {
  const [row] = await database.query<ScopeRow>(findAccountStatement, [publicKey]);
  return row && scopeOf(row);
}

/** Tells servers what is stored, in turn with those who change it. */
export async function retellNatsAccount(
  database: Database,
  scope: Scope,
  tellServers: NatsCredentialRequest['tellServers'],
): Promise<void> {
  await database.inEnvironment(scope.environmentId, async (transaction) => {
    await transaction.query(lockStatement, [scope.environmentId]);
    const account = await readAccount(transaction, scope);
    if (account !== undefined) await tellServers(account);
  });
}

interface Place {
  transaction: Queryable;
  secrets: Secrets;
  scope: Scope;
}

async function createCredential(
  place: Place,
  request: NatsCredentialRequest,
): Promise<{ credential: Credential; text: string }> {
  const { transaction, scope } = place;
  const { environmentId } = scope;
  await transaction.query(lockStatement, [environmentId]);
  await transaction.query(forgetStatement, [environmentId]);
  const [counted] = await transaction.query<{ live: number; kept: number }>(countStatement, [environmentId]);
  if (counted!.live >= limits.credentialsMax || counted!.kept >= limits.credentialsKeptMax) {
    const rule = `an environment has at most ${limits.credentialsMax} credentials, and ${limits.credentialsKeptMax} with those that are revoked but would not have expired`;
    throw new IronflowError('conflict', 'too_many_credentials', rule);
  }
  const accountSeed = await openAccount(place, request);
  const { name, expiresInSeconds } = request;
  const nowMs = Date.now();
  const id = createId(nowMs, randomBytes(10));
  const user = await request.makeUser({ accountSeed, name, expiresAtMs: nowMs + expiresInSeconds * 1_000 });
  const [row] = await transaction.query<CredentialRow>(addStatement, [
    ...[id, environmentId, name, user.publicKey],
    new Date(nowMs + expiresInSeconds * 1_000).toISOString(),
  ]);
  // Also of an account that they should know: it may have been lost.
  await request.tellServers((await readAccount(transaction, scope))!);
  return { credential: toCredential(row!), text: user.text };
}

/** Its seed; it is made if there is none. */
async function openAccount(
  { transaction, secrets, scope: { environmentId } }: Place,
  request: Pick<NatsCredentialRequest, 'makeAccount'>,
): Promise<string> {
  const [row] = await transaction.query<AccountRow>(ownAccountStatement, []);
  if (row !== undefined) {
    const { data_key_version: version, master_key_id: masterKeyId, data_key: sealed } = row;
    const dataKey = { environmentId, version, masterKeyId, sealed };
    return secrets.open(dataKey, secretPlace(environmentId, row.public_key), row.sealed);
  }
  const { publicKey, seed } = request.makeAccount();
  const dataKey = await newestDataKey(transaction, environmentId);
  const sealed = secrets.seal(dataKey, secretPlace(environmentId, publicKey), seed);
  await transaction.query(addAccountStatement, [environmentId, publicKey, dataKey.version, sealed]);
  return seed;
}

async function readAccount(transaction: Queryable, scope: Scope): Promise<NatsAccount | undefined> {
  const [row] = await transaction.query<{ public_key: string; revoked_users: string[] }>(readStatement, [
    scope.environmentId,
  ]);
  return row && { scope, publicKey: row.public_key, revokedUsers: row.revoked_users };
}

function secretPlace(environmentId: string, publicKey: string): SecretPlace {
  return { environmentId, name: `nats account ${publicKey}`, version: 1 };
}

function toCredential(row: CredentialRow): Credential {
  return {
    id: row.id,
    name: row.name,
    publicKey: row.public_key,
    status: row.revoked_at !== null ? 'revoked' : row.is_expired ? 'expired' : 'active',
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
    ...(row.revoked_at === null ? {} : { revokedAt: row.revoked_at.toISOString() }),
  };
}

interface CredentialRow {
  id: string;
  name: string;
  public_key: string;
  created_at: Date;
  expires_at: Date;
  revoked_at: Date | null;
  is_expired: boolean;
}

interface AccountRow {
  public_key: string;
  sealed: Buffer;
  data_key_version: number;
  master_key_id: string;
  data_key: Buffer;
}

const columns = 'id, name, public_key, created_at, expires_at, revoked_at, expires_at <= now() as is_expired';
const lockStatement: Statement = {
  name: 'lock_nats_account',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.nats_account ' || $1::uuid, 0))`,
};
/** The servers turn them away by themselves. */
const forgetStatement: Statement = {
  name: 'forget_nats_credentials',
  text: `delete from nats_credentials where environment_id = $1 and expires_at < now() - interval '1 day'`,
};
const countStatement: Statement = {
  name: 'count_nats_credentials',
  text: `select (count(*) filter (where revoked_at is null and expires_at > now()))::int as live, count(*)::int as kept
    from nats_credentials where environment_id = $1`,
};
const listStatement: Statement = {
  name: 'list_nats_credentials',
  text: `select ${columns} from nats_credentials where environment_id = $1 and expires_at > now() order by id desc`,
};
const addStatement: Statement = {
  name: 'add_nats_credential',
  text: `insert into nats_credentials (id, environment_id, name, public_key, expires_at)
    values ($1, $2, $3, $4, $5) returning ${columns}`,
};
const revokeStatement: Statement = {
  name: 'revoke_nats_credential',
  text: `update nats_credentials set revoked_at = coalesce(revoked_at, now())
    where environment_id = $1 and id = $2 returning ${columns}`,
};
/** A day beyond their end: the clocks of servers are their own. While an environment is archived, all of its users. */
const readStatement: Statement = {
  name: 'read_nats_account',
  text: `select a.public_key, coalesce((select array_agg(c.public_key order by c.id) from nats_credentials c
      where c.environment_id = a.environment_id and (c.revoked_at is not null or e.archived_at is not null)
        and c.expires_at > now() - interval '1 day'), '{}') as revoked_users
    from nats_accounts a join environments e on e.id = a.environment_id where a.environment_id = $1`,
};
const ownAccountStatement: Statement = {
  name: 'own_nats_account',
  text: 'select public_key, sealed, data_key_version, master_key_id, data_key from own_nats_account()',
};
const addAccountStatement: Statement = {
  name: 'add_nats_account',
  text: 'insert into nats_accounts (environment_id, public_key, data_key_version, sealed) values ($1, $2, $3, $4)',
};
const accountScopes = `select a.environment_id, ${scopeColumns}
  from nats_accounts a join environments e on e.id = a.environment_id`;
const listKeysStatement: Statement = {
  name: 'list_nats_account_keys',
  text: `select a.environment_id, ${scopeColumns}, a.public_key from nats_accounts a
    join environments e on e.id = a.environment_id order by a.environment_id`,
};
const listAccountsStatement: Statement = {
  name: 'list_nats_accounts',
  text: `${accountScopes} order by a.environment_id`,
};
const findAccountStatement: Statement = {
  name: 'find_nats_account',
  text: `${accountScopes} where a.public_key = $1`,
};

/**
 * Sources of webhooks and their secrets. Managed within their environment; found by their addresses, before any environment is
 * known, through the one function that may look beyond row-level security for it (`find_webhook_sources`). Secrets are sealed
 * (envelope.ts), each for its own row, and opened only to check deliveries with.
 */
import { randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import {
  createId,
  eventPrefixOf,
  formatWebhookSecret,
  limits,
  webhookKey,
  webhookProviders,
} from '@ironflow/schema';
import type {
  CreateWebhookBody,
  DeliveriesPage,
  DeliveriesQuery,
  RotateWebhookBody,
  Scope,
  Webhook,
  WebhookProviderId,
  WebhookScheme,
  WebhookStatus,
  WebhookWithSecret,
} from '@ironflow/schema';
import { newestDataKey } from './data-keys.js';
import type { Database, Queryable, Statement } from './database.js';
import { scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';
import type { SealedDataKey, Secrets } from './envelope.js';
import type { SecretPlace } from './sealing.js';
import { createWebhookAddress, isWebhookAddress } from './keys.js';
import { listDeliveries } from './webhook-deliveries.js';

export interface WebhookStore {
  /** Rejects with `webhook_exists`, `too_many_webhooks` or `webhook_secret_invalid`. The answer alone has a secret that was made. */
  create(environmentId: string, source: CreateWebhookBody): Promise<WebhookWithSecret>;
  list(environmentId: string): Promise<Webhook[]>;
  get(environmentId: string, id: string): Promise<Webhook | undefined>;
  /** Those before are good for the grace at most, so that asking again after a lost answer cuts nobody off. */
  rotate(environmentId: string, id: string, body: RotateWebhookBody): Promise<WebhookWithSecret | undefined>;
  setStatus(environmentId: string, id: string, status: WebhookStatus): Promise<Webhook | undefined>;
  /** Whether there was one. */
  delete(environmentId: string, id: string): Promise<boolean>;
  /** `undefined` when there is no such source. */
  listDeliveries(
    environmentId: string,
    id: string,
    query: DeliveriesQuery,
  ): Promise<DeliveriesPage | undefined>;
}

/** With what its deliveries are checked and named by. */
export interface WebhookSource {
  scope: Scope;
  id: string;
  address: string;
  provider: WebhookProviderId;
  scheme: WebhookScheme;
  eventPrefix: string;
  headers: string[];
  status: WebhookStatus;
  /** Of its live secrets, opened when they are asked for: one that cannot be is nobody else's trouble. */
  keys(): Uint8Array[];
}

export function createWebhookStore(database: Database, secrets: Secrets): WebhookStore {
  return {
    create: (environmentId, source) =>
      database.inEnvironment(environmentId, (transaction) =>
        createSource(transaction, secrets, { environmentId, source }),
      ),
    list: async (environmentId) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<WebhookRow>(listStatement, [environmentId]),
      );
      return rows.map(toWebhook);
    },
    get: (environmentId, id) =>
      database.inEnvironment(environmentId, (transaction) => readSource(transaction, environmentId, id)),
    rotate: (environmentId, id, body) =>
      database.inEnvironment(environmentId, (transaction) =>
        rotateSecret(transaction, secrets, { environmentId, id, body }),
      ),
    setStatus: (environmentId, id, status) =>
      database.inEnvironment(environmentId, async (transaction) => {
        await transaction.query(statusStatement, [environmentId, id, status]);
        return readSource(transaction, environmentId, id);
      }),
    delete: async (environmentId, id) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query(deleteStatement, [environmentId, id]),
      );
      return rows.length > 0;
    },
    listDeliveries: (environmentId, id, query) =>
      database.inEnvironment(environmentId, async (transaction) => {
        if ((await readSource(transaction, environmentId, id)) === undefined) return undefined;
        return listDeliveries(transaction, { environmentId, sourceId: id }, query);
      }),
  };
}

/** In the order of the addresses; `undefined` for those of no source. */
export async function findWebhookSources(
  database: Database,
  secrets: Secrets,
  addresses: readonly string[],
): Promise<(WebhookSource | undefined)[]> {
  // A mistyped or invented one costs a checksum and does not reach the database.
  const known = [...new Set(addresses.filter(isWebhookAddress))];
  if (known.length === 0) return addresses.map(() => undefined);
  const rows = await database.query<SourceRow>(findStatement, [known]);
  const sources = new Map(rows.map((row) => [row.address, toSource(row, secrets)]));
  return addresses.map((address) => sources.get(address));
}

async function createSource(
  transaction: Queryable,
  secrets: Secrets,
  { environmentId, source }: { environmentId: string; source: CreateWebhookBody },
): Promise<WebhookWithSecret> {
  const { id, provider, scheme, headers } = source;
  const known = provider === 'custom' ? undefined : webhookProviders[provider];
  const [counted] = await transaction.query<{ count: number; exists: boolean }>(countStatement, [
    environmentId,
    id,
  ]);
  if (counted!.exists) throw sourceExists();
  if (counted!.count >= limits.webhookSourcesMax) {
    const rule = `an environment has at most ${limits.webhookSourcesMax} sources of webhooks`;
    throw new IronflowError('conflict', 'too_many_webhooks', rule);
  }
  const address = createWebhookAddress(randomBytes(32));
  const created = await transaction.query(createStatement, [
    environmentId,
    id,
    address,
    provider,
    scheme === undefined ? null : JSON.stringify(scheme),
    eventPrefixOf(source),
    headers,
  ]);
  if (created.length === 0) throw sourceExists();
  // A provider that makes the secret does so when it knows the address.
  const isAwaited = known?.makesSecrets === true && source.secret === undefined;
  const made = isAwaited
    ? {}
    : await addSecret(transaction, secrets, {
        dataKey: await newestDataKey(transaction, environmentId),
        environmentId,
        sourceId: id,
        scheme: schemeOf(provider, scheme),
        given: source.secret,
      });
  return { ...(await readSource(transaction, environmentId, id))!, ...made };
}

async function rotateSecret(
  transaction: Queryable,
  secrets: Secrets,
  { environmentId, id, body }: { environmentId: string; id: string; body: RotateWebhookBody },
): Promise<WebhookWithSecret | undefined> {
  // Before any row is locked: a rotation of the data key holds that, and then waits for rows.
  const dataKey = await newestDataKey(transaction, environmentId);
  // Of two rotations at once the second begins where the first has ended.
  const [locked] = await transaction.query(lockStatement, [environmentId, id]);
  const source = await readSource(transaction, environmentId, id);
  if (locked === undefined || source === undefined) return undefined;
  await transaction.query(removeReplacedStatement, [
    environmentId,
    id,
    body.graceSeconds,
    limits.webhookSecretsMax,
  ]);
  await transaction.query(expireStatement, [environmentId, id, body.graceSeconds]);
  const made = await addSecret(transaction, secrets, {
    dataKey,
    environmentId,
    sourceId: id,
    scheme: source.scheme,
    given: body.secret,
  });
  return { ...(await readSource(transaction, environmentId, id))!, ...made };
}

/** Answers the secret if it was made here. */
async function addSecret(
  transaction: Queryable,
  secrets: Secrets,
  secret: {
    dataKey: SealedDataKey;
    environmentId: string;
    sourceId: string;
    scheme: WebhookScheme;
    given: string | undefined;
  },
): Promise<{ secret?: string }> {
  const { dataKey, environmentId, sourceId, scheme, given } = secret;
  const text = given ?? formatWebhookSecret(scheme, randomBytes(32));
  if (webhookKey(scheme, text) === undefined) {
    const { encoding, prefix } = scheme.secret;
    const rule = `must be ${encoding}${prefix === '' ? '' : `, with or without "${prefix}" before it`}`;
    throw new IronflowError('invalid', 'webhook_secret_invalid', rule, { field: 'secret' });
  }
  const id = createId(Date.now(), randomBytes(10));
  const sealed = secrets.seal(dataKey, secretPlace(environmentId, id), text);
  await transaction.query(addSecretStatement, [id, environmentId, sourceId, dataKey.version, sealed]);
  return given === undefined ? { secret: text } : {};
}

async function readSource(
  transaction: Queryable,
  environmentId: string,
  id: string,
): Promise<Webhook | undefined> {
  const [row] = await transaction.query<WebhookRow>(getStatement, [environmentId, id]);
  return row && toWebhook(row);
}

function secretPlace(environmentId: string, secretId: string): SecretPlace {
  return { environmentId, name: `webhook secret ${secretId}`, version: 1 };
}

function schemeOf(provider: WebhookProviderId, custom: WebhookScheme | null | undefined): WebhookScheme {
  return provider === 'custom' ? custom! : webhookProviders[provider].scheme;
}

function sourceExists(): IronflowError {
  const rule =
    'there is a source of webhooks of that id: choose another, or rotate its secret if that is lost';
  return new IronflowError('conflict', 'webhook_exists', rule, { field: 'id' });
}

interface SourceFacts {
  id: string;
  address: string;
  provider: WebhookProviderId;
  scheme: WebhookScheme | null;
  event_prefix: string;
  headers: string[];
  status: WebhookStatus;
}

interface WebhookRow extends SourceFacts {
  created_at: Date;
  refused: number;
  refused_unlogged: number;
  secrets: Webhook['secrets'];
}

interface SourceRow extends SourceFacts, ScopeRow {
  secrets: { id: string; sealed: string; dataKeyVersion: number; masterKeyId: string; dataKey: string }[];
}

function toWebhook(row: WebhookRow): Webhook {
  return {
    id: row.id,
    provider: row.provider,
    path: `/v1/hooks/${row.address}`,
    scheme: schemeOf(row.provider, row.scheme),
    eventPrefix: row.event_prefix,
    headers: row.headers,
    status: row.status,
    secrets: row.secrets.map(({ createdAt, expiresAt }) => ({
      createdAt: new Date(createdAt).toISOString(),
      ...(expiresAt ? { expiresAt: new Date(expiresAt).toISOString() } : {}),
    })),
    refused: row.refused,
    refusedUnlogged: row.refused_unlogged,
    createdAt: row.created_at.toISOString(),
  };
}

function toSource(row: SourceRow, secrets: Secrets): WebhookSource {
  const { environment_id: environmentId } = row;
  const scheme = schemeOf(row.provider, row.scheme);
  const keyOf = (secret: SourceRow['secrets'][number]): Uint8Array => {
    const dataKey: SealedDataKey = {
      environmentId,
      version: secret.dataKeyVersion,
      masterKeyId: secret.masterKeyId,
      sealed: Buffer.from(secret.dataKey, 'hex'),
    };
    const place = secretPlace(environmentId, secret.id);
    return webhookKey(scheme, secrets.open(dataKey, place, Buffer.from(secret.sealed, 'hex')))!;
  };
  return {
    scope: scopeOf(row),
    id: row.id,
    address: row.address,
    provider: row.provider,
    scheme,
    eventPrefix: row.event_prefix,
    headers: row.headers,
    status: row.status,
    keys: () => row.secrets.map(keyOf),
  };
}

const webhookText = (
  condition: string,
): string => `select s.id, s.address, s.provider, s.scheme, s.event_prefix,
    s.headers, s.status, s.created_at, s.refused::float8, s.refused_unlogged::float8,
    (select coalesce(json_agg(json_build_object('createdAt', w.created_at, 'expiresAt', w.expires_at)
        order by w.created_at desc), '[]')
      from webhook_secrets w where w.environment_id = s.environment_id and w.source_id = s.id
        and (w.expires_at is null or w.expires_at > now())) as secrets
  from webhook_sources s where s.environment_id = $1 ${condition} order by s.id`;
const listStatement: Statement = { name: 'list_webhooks', text: webhookText('') };
const getStatement: Statement = { name: 'webhook', text: webhookText('and s.id = $2') };
const countStatement: Statement = {
  name: 'count_webhooks',
  text: `select count(*)::int as count, coalesce(bool_or(id = $2), false) as exists
    from webhook_sources where environment_id = $1`,
};
const createStatement: Statement = {
  name: 'create_webhook',
  text: `insert into webhook_sources (environment_id, id, address, provider, scheme, event_prefix, headers)
    values ($1, $2, $3, $4, $5::json, $6, $7) on conflict (environment_id, id) do nothing returning 1`,
};
const lockStatement: Statement = {
  name: 'lock_webhook',
  text: 'select 1 from webhook_sources where environment_id = $1 and id = $2 for update',
};
/** All without a grace; else those that have expired, and the oldest if there would be too many. */
const removeReplacedStatement: Statement = {
  name: 'remove_replaced_webhook_secrets',
  text: `delete from webhook_secrets where environment_id = $1 and source_id = $2
    and ($3::int = 0 or expires_at <= now() or id not in (
      select id from webhook_secrets where environment_id = $1 and source_id = $2
      order by created_at desc limit $4::int - 1))`,
};
const expireStatement: Statement = {
  name: 'expire_webhook_secrets',
  text: `update webhook_secrets
    set expires_at = least(coalesce(expires_at, 'infinity'), now() + make_interval(secs => $3::int))
    where environment_id = $1 and source_id = $2`,
};
const addSecretStatement: Statement = {
  name: 'add_webhook_secret',
  text: `insert into webhook_secrets (id, environment_id, source_id, data_key_version, sealed)
    values ($1, $2, $3, $4, $5)`,
};
const statusStatement: Statement = {
  name: 'set_webhook_status',
  text: 'update webhook_sources set status = $3 where environment_id = $1 and id = $2',
};
const deleteStatement: Statement = {
  name: 'delete_webhook',
  text: 'delete from webhook_sources where environment_id = $1 and id = $2 returning 1',
};
const findStatement: Statement = {
  name: 'find_webhook_sources',
  text: `select address, environment_id, project, env, id, provider, scheme, event_prefix, headers, status, secrets
    from find_webhook_sources($1)`,
};

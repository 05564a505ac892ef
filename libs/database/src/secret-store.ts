/**
 * Secrets of an environment, by name. Each version is sealed for its own place (envelope.ts) with the environment's data key; the
 * newest one is what is read, and a few before it are kept.
 */
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type { RotatedDataKey, Secret, SecretValues } from '@ironflow/schema';
import { newestDataKey, rotateDataKey } from './data-keys.js';
import type { Database, Queryable, Statement } from './database.js';
import type { Secrets } from './envelope.js';
import type { SecretPlace } from './sealing.js';

export interface SecretStore {
  /** A new version. Rejects with `too_many_secrets`. */
  set(environmentId: string, secret: { name: string; value: string }): Promise<Secret>;
  list(environmentId: string): Promise<Secret[]>;
  get(environmentId: string, name: string): Promise<Secret | undefined>;
  /** Of those of the names that there are. */
  values(environmentId: string, names: readonly string[]): Promise<SecretValues['secrets']>;
  /** With all its versions; whether there was one. */
  delete(environmentId: string, name: string): Promise<boolean>;
  /** Seals everything of the environment with a new data key. */
  rotateDataKey(environmentId: string): Promise<RotatedDataKey>;
}

export interface SecretStoreOptions {
  /** As ironflow_tenant. */
  database: Database;
  /** As ironflow_service: of the rest that a data key seals, tenants' role may read nothing. */
  platformDatabase: Database;
  secrets: Secrets;
}

export function createSecretStore({ database, platformDatabase, secrets }: SecretStoreOptions): SecretStore {
  return {
    set: (environmentId, secret) =>
      database.inEnvironment(environmentId, (transaction) =>
        addVersion(transaction, secrets, { environmentId, ...secret }),
      ),
    list: (environmentId) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const rows = await transaction.query<SecretRow>(listStatement, [environmentId]);
        return rows.map(toSecret);
      }),
    get: (environmentId, name) =>
      database.inEnvironment(environmentId, (transaction) => read(transaction, environmentId, name)),
    values: (environmentId, names) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const rows = await transaction.query<SealedRow>(valuesStatement, [[...new Set(names)]]);
        return rows.map((row) => ({
          name: row.name,
          version: row.version,
          value: openRow(secrets, environmentId, row),
        }));
      }),
    delete: (environmentId, name) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const rows = await transaction.query(deleteStatement, [environmentId, name]);
        return rows.length > 0;
      }),
    rotateDataKey: (environmentId) => rotateDataKey(platformDatabase, secrets, environmentId),
  };
}

async function addVersion(
  transaction: Queryable,
  secrets: Secrets,
  { environmentId, name, value }: { environmentId: string; name: string; value: string },
): Promise<Secret> {
  const dataKey = await newestDataKey(transaction, environmentId);
  // Two at once would both make the next version.
  await transaction.query(lockStatement, [environmentId]);
  const [counted] = await transaction.query<{ others: number; newest: number | null }>(countStatement, [
    environmentId,
    name,
  ]);
  if (counted!.newest === null && counted!.others >= limits.secretsMax) {
    const rule = `an environment has at most ${limits.secretsMax} secrets`;
    throw new IronflowError('conflict', 'too_many_secrets', rule);
  }
  const version = (counted!.newest ?? 0) + 1;
  const sealed = secrets.seal(dataKey, placeOf(environmentId, { name, version }), value);
  await transaction.query(addStatement, [environmentId, name, version, dataKey.version, sealed]);
  await transaction.query(forgetStatement, [environmentId, name, version - limits.secretVersionsKept]);
  return (await read(transaction, environmentId, name))!;
}

async function read(
  transaction: Queryable,
  environmentId: string,
  name: string,
): Promise<Secret | undefined> {
  const [row] = await transaction.query<SecretRow>(getStatement, [environmentId, name]);
  return row && toSecret(row);
}

function openRow(secrets: Secrets, environmentId: string, row: SealedRow): string {
  const dataKey = {
    environmentId,
    version: row.data_key_version,
    masterKeyId: row.master_key_id,
    sealed: row.data_key,
  };
  return secrets.open(dataKey, placeOf(environmentId, row), row.sealed);
}

function placeOf(environmentId: string, { name, version }: { name: string; version: number }): SecretPlace {
  return { environmentId, name: `secret ${name}`, version };
}

interface SecretRow {
  name: string;
  versions: { version: number; createdAt: string }[];
}

interface SealedRow {
  name: string;
  version: number;
  sealed: Buffer;
  data_key_version: number;
  master_key_id: string;
  data_key: Buffer;
}

function toSecret(row: SecretRow): Secret {
  const versions = row.versions.map(({ version, createdAt }) => ({
    version,
    createdAt: new Date(createdAt).toISOString(),
  }));
  const { version, createdAt: updatedAt } = versions[0]!;
  return { name: row.name, version, updatedAt, versions };
}

const secretText = (condition: string): string => `select name,
    json_agg(json_build_object('version', version, 'createdAt', created_at) order by version desc) as versions
  from secrets where environment_id = $1 ${condition} group by name order by name`;
const listStatement: Statement = { name: 'list_secrets', text: secretText('') };
const getStatement: Statement = { name: 'secret', text: secretText('and name = $2') };
const lockStatement: Statement = {
  name: 'lock_secrets',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.secrets:' || $1, 0))`,
};
const countStatement: Statement = {
  name: 'count_secrets',
  text: `select (count(distinct name) filter (where name <> $2))::int as others,
      max(version) filter (where name = $2) as newest
    from secrets where environment_id = $1`,
};
const addStatement: Statement = {
  name: 'add_secret_version',
  text: `insert into secrets (environment_id, name, version, data_key_version, sealed) values ($1, $2, $3, $4, $5)`,
};
const forgetStatement: Statement = {
  name: 'forget_secret_versions',
  text: 'delete from secrets where environment_id = $1 and name = $2 and version <= $3',
};
const deleteStatement: Statement = {
  name: 'delete_secret',
  text: 'delete from secrets where environment_id = $1 and name = $2 returning 1',
};
const valuesStatement: Statement = {
  name: 'sealed_secrets',
  text: 'select name, version, sealed, data_key_version, master_key_id, data_key from sealed_secrets($1)',
};

/**
 * Data keys of environments: made, found for who seals, and rotated. A rotation holds a lock that whoever seals waits for, so that
 * nothing is sealed with the key before once it is over.
 */
import type { RotatedDataKey } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import type { SealedDataKey, Secrets } from './envelope.js';
import type { Prisma } from './generated/client.js';

/** The newest one; an environment's first is made by the first who needs it. Needs ironflow_service. */
export async function ensureDataKey(
  transaction: Prisma.TransactionClient,
  secrets: Secrets,
  environmentId: string,
): Promise<SealedDataKey> {
  await transaction.$executeRaw`
    select pg_advisory_xact_lock_shared(hashtextextended('ironflow.data_key:' || ${environmentId}, 0))`;
  const existing = await transaction.environmentDataKey.findFirst({
    where: { environmentId },
    orderBy: { version: 'desc' },
  });
  if (existing !== null) return existing;
  const dataKey = secrets.sealedDataKey({ environmentId, version: 1 });
  await transaction.environmentDataKey.create({
    data: { ...dataKey, sealed: new Uint8Array(dataKey.sealed) },
  });
  return dataKey;
}

/** Of the environment that the transaction is in; every environment has one. */
export async function newestDataKey(transaction: Queryable, environmentId: string): Promise<SealedDataKey> {
  const [row] = await transaction.query<DataKeyRow>(newestStatement, []);
  if (row === undefined) throw new Error('an environment has no data key');
  const { version, master_key_id: masterKeyId, sealed } = row;
  return { environmentId, version, masterKeyId, sealed };
}

/**
 * What is sealed with data keys: how a row is found again, and where its value belongs, as it was sealed. A table that refers to
 * data keys has to be here.
 */
export const sealedTables = [
  { table: 'signing_keys', key: 'id::text', name: `'signing key'`, version: 'version' },
  { table: 'webhook_secrets', key: 'id::text', name: `'webhook secret ' || id`, version: '1' },
  {
    table: 'nats_accounts',
    key: 'environment_id::text',
    name: `'nats account ' || public_key`,
    version: '1',
  },
  { table: 'secrets', key: `name || ' ' || version`, name: `'secret ' || name`, version: 'version' },
] as const;

/**
 * A new data key, and everything of the environment sealed with it, in one transaction. The key before is kept until the next
 * rotation, for who has just read a row that it sealed. Needs ironflow_service.
 */
export async function rotateDataKey(
  database: Pick<Database, 'transaction'>,
  secrets: Secrets,
  environmentId: string,
): Promise<RotatedDataKey> {
  return database.transaction(async (transaction) => {
    await transaction.query(lockStatement, [environmentId]);
    const [newest] = await transaction.query<{ version: number | null }>(newestVersionStatement, [
      environmentId,
    ]);
    const dataKey = secrets.sealedDataKey({ environmentId, version: (newest?.version ?? 0) + 1 });
    const { version, masterKeyId, sealed } = dataKey;
    await transaction.query(addStatement, [environmentId, version, masterKeyId, sealed]);
    let resealed = 0;
    for (const statements of resealStatements) {
      resealed += await resealTable(transaction, secrets, { dataKey, statements });
    }
    await transaction.query(removeStatement, [environmentId, version]);
    return { version, resealed };
  });
}

/** As many as fit into memory whatever their size. */
const rowsPerBatch = 100;

async function resealTable(
  transaction: Queryable,
  secrets: Secrets,
  { dataKey, statements }: { dataKey: SealedDataKey; statements: ResealStatements },
): Promise<number> {
  const { environmentId, version } = dataKey;
  for (let resealed = 0; ;) {
    const values = [environmentId, version, rowsPerBatch];
    const rows = await transaction.query<SealedRow>(statements.read, values);
    if (rows.length === 0) return resealed;
    const sealed = rows.map((row) => {
      const place = { environmentId, name: row.name, version: row.version };
      const before = {
        environmentId,
        version: row.data_key_version,
        masterKeyId: row.master_key_id,
        sealed: row.data_key,
      };
      return secrets.seal(dataKey, place, secrets.open(before, place, row.sealed));
    });
    await transaction.query(statements.write, [environmentId, version, rows.map(({ key }) => key), sealed]);
    resealed += rows.length;
  }
}

interface DataKeyRow {
  version: number;
  master_key_id: string;
  sealed: Buffer;
}

interface SealedRow {
  key: string;
  name: string;
  version: number;
  sealed: Buffer;
  data_key_version: number;
  master_key_id: string;
  data_key: Buffer;
}

interface ResealStatements {
  read: Statement;
  write: Statement;
}

const newestStatement: Statement = {
  name: 'newest_data_key',
  text: 'select version, master_key_id, sealed from newest_data_key()',
};
const lockStatement: Statement = {
  name: 'lock_data_key',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.data_key:' || $1, 0))`,
};
const newestVersionStatement: Statement = {
  name: 'newest_data_key_version',
  text: 'select max(version) as version from environment_data_keys where environment_id = $1',
};
const addStatement: Statement = {
  name: 'add_data_key',
  text: `insert into environment_data_keys (environment_id, version, master_key_id, sealed) values ($1, $2, $3, $4)`,
};
const removeStatement: Statement = {
  name: 'remove_data_keys',
  text: 'delete from environment_data_keys where environment_id = $1 and version < $2::int - 1',
};
const resealStatements: ResealStatements[] = sealedTables.map(({ table, key, name, version }) => ({
  read: {
    name: `read_sealed_${table}`,
    text: `select t.key, t.name, t.version, t.sealed, t.data_key_version, k.master_key_id, k.sealed as data_key
      from (select ${key} as key, ${name} as name, ${version} as version, sealed, data_key_version, environment_id
        from ${table} where environment_id = $1 and data_key_version < $2 limit $3) t
      join environment_data_keys k on k.environment_id = t.environment_id and k.version = t.data_key_version`,
  },
  write: {
    name: `reseal_${table}`,
    text: `update ${table} set sealed = resealed.sealed, data_key_version = $2
      from unnest($3::text[], $4::bytea[]) as resealed (key, sealed)
      where environment_id = $1 and ${key} = resealed.key`,
  },
}));

/**
 * Config documents of an environment: JSON by name, each with a revision that rises with every change, deletions among them. One
 * change of an environment at a time.
 */
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type { ConfigDocument, ConfigSummary, ConfigUpdate } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';

export interface ConfigStore {
  /**
   * `data` is JSON text. `revision`: what it has to be at now, 0 for none; rejects with `revision_mismatch` otherwise, and with
   * `too_many_config_documents`.
   */
  put(
    environmentId: string,
    document: { name: string; data: string; revision: number | undefined },
  ): Promise<ConfigDocument>;
  list(environmentId: string): Promise<ConfigSummary[]>;
  get(environmentId: string, name: string): Promise<ConfigDocument | undefined>;
  /** As a watcher sees it: also one that was deleted a while ago. */
  state(environmentId: string, name: string): Promise<ConfigUpdate | undefined>;
  /** Whether there was one; rejects with `revision_mismatch`. */
  delete(environmentId: string, name: string, revision: number | undefined): Promise<boolean>;
}

export function createConfigStore(database: Database): ConfigStore {
  const state: ConfigStore['state'] = (environmentId, name) =>
    database.inEnvironment(environmentId, async (transaction) => {
      const row = await readRow(transaction, environmentId, name);
      return row && toUpdate(row);
    });
  return {
    put: (environmentId, document) =>
      database.inEnvironment(environmentId, (transaction) => put(transaction, environmentId, document)),
    list: async (environmentId) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<Omit<ConfigRow, 'data'>>(listStatement, [environmentId]),
      );
      return rows.map(toSummary);
    },
    get: (environmentId, name) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const row = await readRow(transaction, environmentId, name);
        return row === undefined || row.deleted ? undefined : toDocument(row);
      }),
    state,
    delete: (environmentId, name, revision) =>
      database.inEnvironment(environmentId, async (transaction) => {
        await transaction.query(lockStatement, [environmentId]);
        const row = await readRow(transaction, environmentId, name);
        if (row === undefined || row.deleted) return false;
        requireRevision(row, revision);
        await transaction.query(deleteStatement, [environmentId, name]);
        return true;
      }),
  };
}

async function put(
  transaction: Queryable,
  environmentId: string,
  { name, data, revision }: { name: string; data: string; revision: number | undefined },
): Promise<ConfigDocument> {
  await transaction.query(lockStatement, [environmentId]);
  requireRevision(await readRow(transaction, environmentId, name), revision);
  await transaction.query(forgetStatement, [environmentId]);
  const [counted] = await transaction.query<{ others: number }>(othersStatement, [environmentId, name]);
  if (counted!.others >= limits.configDocumentsMax) {
    const rule = `an environment has at most ${limits.configDocumentsMax} config documents`;
    throw new IronflowError('conflict', 'too_many_config_documents', rule);
  }
  await transaction.query(putStatement, [environmentId, name, data]);
  return toDocument((await readRow(transaction, environmentId, name))!);
}

function requireRevision(row: ConfigRow | undefined, expected: number | undefined): void {
  const revision = row === undefined || row.deleted ? 0 : row.revision;
  if (expected === undefined || expected === revision) return;
  const rule = revision === 0 ? 'there is no such document' : `the document is at revision ${revision}`;
  throw new IronflowError('conflict', 'revision_mismatch', rule, { field: 'revision' });
}

async function readRow(
  transaction: Queryable,
  environmentId: string,
  name: string,
): Promise<ConfigRow | undefined> {
  const [row] = await transaction.query<ConfigRow>(readStatement, [environmentId, name]);
  return row;
}

interface ConfigRow {
  name: string;
  revision: number;
  data: unknown;
  updated_at: Date;
  deleted: boolean;
}

function toSummary(row: Omit<ConfigRow, 'data'>): ConfigSummary {
  return { name: row.name, revision: row.revision, updatedAt: row.updated_at.toISOString() };
}

function toDocument(row: ConfigRow): ConfigDocument {
  return { ...toSummary(row), data: row.data };
}

function toUpdate(row: ConfigRow): ConfigUpdate {
  return row.deleted ? { ...toSummary(row), deleted: true } : toDocument(row);
}

const summaryColumns = 'name, revision::float8, updated_at, deleted_at is not null as deleted';
const lockStatement: Statement = {
  name: 'lock_config',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.config:' || $1, 0))`,
};
const readStatement: Statement = {
  name: 'config_document',
  text: `select ${summaryColumns}, data from config_documents where environment_id = $1 and name = $2`,
};
const listStatement: Statement = {
  name: 'list_config_documents',
  text: `select ${summaryColumns} from config_documents
    where environment_id = $1 and deleted_at is null order by name`,
};
const othersStatement: Statement = {
  name: 'other_config_documents',
  text: `select count(*)::int as others from config_documents
    where environment_id = $1 and name <> $2 and deleted_at is null`,
};
/** By then every watcher has seen that they are deleted. */
const forgetStatement: Statement = {
  name: 'forget_config_documents',
  text: `delete from config_documents where environment_id = $1 and deleted_at < now() - interval '1 day'`,
};
const putStatement: Statement = {
  name: 'put_config_document',
  text: `insert into config_documents (environment_id, name, revision, data) values ($1, $2, 1, $3::json)
    on conflict (environment_id, name) do update set revision = config_documents.revision + 1,
      data = excluded.data, updated_at = now(), deleted_at = null`,
};
const deleteStatement: Statement = {
  name: 'delete_config_document',
  text: `update config_documents set revision = revision + 1, data = 'null', updated_at = now(), deleted_at = now()
    where environment_id = $1 and name = $2`,
};

/** What a new secret of an environment is sealed with; for the tenant role, which may read no other. */
import type { Queryable, Statement } from './database.js';
import type { SealedDataKey } from './envelope.js';

/** Of the environment that the transaction has set. */
export async function readNewestDataKey(
  transaction: Queryable,
  environmentId: string,
): Promise<SealedDataKey> {
  const [row] = await transaction.query<DataKeyRow>(dataKeyStatement, []);
  if (row === undefined) throw new Error('an environment has no data key');
  return { environmentId, version: row.version, masterKeyId: row.master_key_id, sealed: row.sealed };
}

interface DataKeyRow {
  version: number;
  master_key_id: string;
  sealed: Buffer;
}

const dataKeyStatement: Statement = {
  name: 'newest_data_key',
  text: 'select version, master_key_id, sealed from newest_data_key()',
};

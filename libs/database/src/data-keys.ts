/** What new secrets of an environment are sealed with. */
import type { Queryable, Statement } from './database.js';
import type { SealedDataKey } from './envelope.js';

/** Within a transaction of the environment. */
export async function newestDataKey(transaction: Queryable, environmentId: string): Promise<SealedDataKey> {
  const [row] = await transaction.query<DataKeyRow>(statement, []);
  if (row === undefined) throw new Error('an environment has no data key');
  const { version, master_key_id: masterKeyId, sealed } = row;
  return { environmentId, version, masterKeyId, sealed };
}

interface DataKeyRow {
  version: number;
  master_key_id: string;
  sealed: Buffer;
}

const statement: Statement = {
  name: 'newest_data_key',
  text: 'select version, master_key_id, sealed from newest_data_key()',
};

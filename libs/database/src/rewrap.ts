/**
 * Wraps every key of an installation by the first of the master keys, so that the others can be dropped. What was wrapped stays
 * wrapped: cut off, it goes on where it was when it is begun again. Values are not touched. Needs ironflow_service.
 */
import type { Database, Queryable, Statement } from './database.js';
import { dataKeyPlace } from './envelope.js';
import type { MasterKeys, WrappedKey } from './master-keys.js';
import { readMasterKeys } from './master-keys.js';
import { openEnvelope, platformKeyPlace } from './platform-keys.js';
import type { SecretPlace } from './sealing.js';

export interface RewrapResult {
  /** Of environments, wrapped anew. */
  dataKeys: number;
  platformKeys: number;
  /** Wrapped by a master key that was not given, and left so. */
  unreadable: number;
}

const keysPerBatch = 500;

export async function rewrapKeys(database: Database, masterKeys: string): Promise<RewrapResult> {
  // Peppers that nobody has kept yet are derived from a key that may be dropped afterwards.
  await openEnvelope(database, masterKeys);
  const keys = readMasterKeys(masterKeys);
  const platformKeys = await database.transaction((transaction) => rewrapPlatformKeys(transaction, keys));
  const result: RewrapResult = { dataKeys: 0, platformKeys, unreadable: 0 };
  let last: DataKeyRow | undefined;
  do {
    const after = last;
    const batch = await database.transaction((transaction) => rewrapBatch(transaction, keys, after));
    result.dataKeys += batch.rewrapped;
    result.unreadable += batch.unreadable;
    last = batch.last;
  } while (last !== undefined);
  return result;
}

async function rewrapBatch(
  transaction: Queryable,
  keys: MasterKeys,
  after: DataKeyRow | undefined,
): Promise<{ rewrapped: number; unreadable: number; last: DataKeyRow | undefined }> {
  const rows = await transaction.query<DataKeyRow>(readStatement, [
    keys.firstId,
    after?.environment_id ?? lowestId,
    after?.version ?? 0,
    keysPerBatch,
  ]);
  const known = rows.filter((row) => keys.knows(row.master_key_id));
  const sealed = known.map((row) => {
    const place = dataKeyPlace({ environmentId: row.environment_id, version: row.version });
    return rewrapped(keys, place, row).sealed;
  });
  await transaction.query(writeStatement, [
    keys.firstId,
    known.map((row) => row.environment_id),
    known.map((row) => row.version),
    sealed,
  ]);
  return { rewrapped: known.length, unreadable: rows.length - known.length, last: rows.at(-1) };
}

async function rewrapPlatformKeys(transaction: Queryable, keys: MasterKeys): Promise<number> {
  const rows = await transaction.query<KeyRow & { name: string }>(readPlatformStatement, [keys.firstId]);
  for (const row of rows) {
    const { sealed } = rewrapped(keys, platformKeyPlace(row.name), row);
    await transaction.query(writePlatformStatement, [keys.firstId, row.name, sealed]);
  }
  return rows.length;
}

function rewrapped(keys: MasterKeys, place: SecretPlace, row: KeyRow): WrappedKey {
  return keys.wrap(place, keys.unwrap(place, { masterKeyId: row.master_key_id, sealed: row.sealed }));
}

interface KeyRow {
  master_key_id: string;
  sealed: Buffer;
}

interface DataKeyRow extends KeyRow {
  environment_id: string;
  version: number;
}

const lowestId = '00000000-0000-0000-0000-000000000000';
const readStatement: Statement = {
  name: 'read_keys_to_rewrap',
  text: `select environment_id, version, master_key_id, sealed from environment_data_keys
    where master_key_id <> $1 and (environment_id, version) > ($2::uuid, $3::int)
    order by environment_id, version limit $4 for update`,
};
const writeStatement: Statement = {
  name: 'rewrap_keys',
  text: `update environment_data_keys k set master_key_id = $1, sealed = w.sealed
    from unnest($2::uuid[], $3::int[], $4::bytea[]) as w (environment_id, version, sealed)
    where k.environment_id = w.environment_id and k.version = w.version`,
};
const readPlatformStatement: Statement = {
  name: 'read_platform_keys_to_rewrap',
  text: 'select name, master_key_id, sealed from platform_keys where master_key_id <> $1 order by name for update',
};
const writePlatformStatement: Statement = {
  name: 'rewrap_platform_key',
  text: 'update platform_keys set master_key_id = $1, sealed = $3 where name = $2',
};

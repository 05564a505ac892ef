/**
 * Keys of the whole installation, kept so that they outlive the master key: what hashes of API keys and links are keyed with. The
 * first process that needs one keeps the one that was derived from the master key before.
 */
import type { Database, Statement } from './database.js';
import { createEnvelope } from './envelope.js';
import type { Secrets } from './envelope.js';
import { readMasterKeys } from './master-keys.js';
import type { MasterKeys, PepperName } from './master-keys.js';
import { unreadable } from './sealing.js';
import type { SecretPlace } from './sealing.js';

/**
 * The envelope of an installation, for either role. `masterKeys` is 32 bytes in base64, or several of those separated by commas. Refuses
 * (`secret_unreadable`) master keys that are not this installation's.
 */
export async function openEnvelope(database: Pick<Database, 'query'>, masterKeys: string): Promise<Secrets> {
  const keys = readMasterKeys(masterKeys);
  const apiKeyPepper = await keepPepper(database, keys, 'apiKeyPepper');
  const approvalPepper = await keepPepper(database, keys, 'approvalPepper');
  return createEnvelope(keys, { apiKeyPepper, approvalPepper });
}

export function platformKeyPlace(name: string): SecretPlace {
  return { environmentId: 'platform', name: `platform key ${name}`, version: 1 };
}

async function keepPepper(
  database: Pick<Database, 'query'>,
  keys: MasterKeys,
  name: PepperName,
): Promise<Buffer> {
  // The first of several need not be the one under which API keys were hashed so far, and that one may not be here.
  const [oldest] = await database.query<{ id: string | null }>(oldestStatement, []);
  const usedId = oldest?.id ?? keys.firstId;
  const place = platformKeyPlace(storedNames[name]);
  const used = keys.knows(usedId) ? keys.wrap(place, keys.derivePepper(name, usedId)) : undefined;
  const [row] = await database.query<{ master_key_id: string; sealed: Buffer }>(keepStatement, [
    storedNames[name],
    used?.masterKeyId ?? null,
    used?.sealed ?? null,
  ]);
  if (row === undefined) throw unreadable('it was sealed under another master key');
  return keys.unwrap(place, { masterKeyId: row.master_key_id, sealed: row.sealed });
}

const storedNames: Record<PepperName, string> = {
  apiKeyPepper: 'api-key-pepper',
  approvalPepper: 'approval-pepper',
};

const oldestStatement: Statement = {
  name: 'oldest_master_key_id',
  text: 'select oldest_master_key_id() as id',
};
const keepStatement: Statement = {
  name: 'keep_platform_key',
  text: 'select master_key_id, sealed from keep_platform_key($1, $2, $3)',
};

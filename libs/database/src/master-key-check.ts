/** Whether given master keys are an installation's: they open what is wrapped by them. It only reads. Needs ironflow_service. */
import type { Database, Statement } from './database.js';
import { dataKeyPlace } from './envelope.js';
import { readMasterKeys } from './master-keys.js';
import { platformKeyPlace } from './platform-keys.js';
import type { SecretPlace } from './sealing.js';

export interface MasterKeyCheck {
  opened: number;
  /** Wrapped by a key that was not given. */
  foreign: number;
  /** Wrapped by one that was given, by its id, and not to be opened by it. */
  damaged: number;
}

/** `masterKeys` is 32 bytes in base64, or several of those. Those of the newest keys are looked at, up to 10,000. */
export async function checkMasterKeys(
  database: Pick<Database, 'query'>,
  masterKeys: string,
): Promise<MasterKeyCheck> {
  const keys = readMasterKeys(masterKeys);
  const check: MasterKeyCheck = { opened: 0, foreign: 0, damaged: 0 };
  for (const { place, masterKeyId, sealed } of await readWrapped(database)) {
    if (!keys.knows(masterKeyId)) {
      check.foreign += 1;
      continue;
    }
    try {
      keys.unwrap(place, { masterKeyId, sealed });
      check.opened += 1;
    } catch {
      check.damaged += 1;
    }
  }
  return check;
}

interface WrappedRow {
  environment_id: string | null;
  name: string;
  version: number;
  master_key_id: string;
  sealed: Buffer;
}

async function readWrapped(
  database: Pick<Database, 'query'>,
): Promise<{ place: SecretPlace; masterKeyId: string; sealed: Buffer }[]> {
  const rows = await database.query<WrappedRow>(wrappedStatement, []);
  return rows.map(({ environment_id: environmentId, name, version, master_key_id: masterKeyId, sealed }) => ({
    place: environmentId === null ? platformKeyPlace(name) : dataKeyPlace({ environmentId, version }),
    masterKeyId,
    sealed,
  }));
}

const wrappedStatement: Statement = {
  name: 'inspect_wrapped_keys',
  text: `(select null::uuid as environment_id, name, 1 as version, master_key_id, sealed from platform_keys)
    union all
    (select environment_id, 'data key', version, master_key_id, sealed from environment_data_keys
      order by created_at desc limit 10000)`,
};

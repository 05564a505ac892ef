/** `ironflow secrets rewrap`: every key of the installation under the first master key. */
import type { RewrapResult } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { loadDatabase } from '../installed-parts.js';

export interface RunRewrapOptions {
  env: NodeJS.ProcessEnv;
}

export async function runRewrap({ env }: RunRewrapOptions): Promise<RewrapResult> {
  const { createDatabase, describeDatabaseError, requireDatabaseUrl, rewrapKeys } = await loadDatabase();
  const { DATABASE_URL: url, IRONFLOW_MASTER_KEY: masterKeys } = env;
  if (!url) throw missing('DATABASE_URL: set it as the services have it, with the login of ironflow_service');
  requireDatabaseUrl(url);
  if (!masterKeys) throw missing('IRONFLOW_MASTER_KEY: set it as the services have it, the new key first');
  const database = createDatabase({ url, applicationName: 'ironflow rewrap', maxConnections: 2 });
  try {
    return await rewrapKeys(database, masterKeys);
  } catch (error) {
    // What is wrong with the master keys is no fault of the database.
    if (error instanceof IronflowError && error.code.endsWith('_key_invalid')) throw error;
    throw describeDatabaseError(url, error);
  } finally {
    await database.close();
  }
}

function missing(message: string): IronflowError {
  return new IronflowError('invalid', 'config_invalid', message);
}

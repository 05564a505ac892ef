/** `ironflow migrate`: the only way to change a database's schema. */
import { IronflowError } from '@ironflow/errors';
import { loadDatabase } from '../installed-parts.js';

export interface RunMigrationsOptions {
  env: NodeJS.ProcessEnv;
  say: (line: string) => void;
}

export async function runMigrations({ env, say }: RunMigrationsOptions): Promise<{ applied: string[] }> {
  const { describeDatabaseError, migrate, requireDatabaseUrl } = await loadDatabase();
  const {
    DATABASE_URL: ownerUrl,
    IRONFLOW_SERVICE_PASSWORD: service,
    IRONFLOW_TENANT_PASSWORD: tenant,
  } = env;
  if (!ownerUrl) {
    const message = 'DATABASE_URL: set it to the postgresql:// URL of an administrator of the database';
    throw new IronflowError('invalid', 'config_invalid', message);
  }
  requireDatabaseUrl(ownerUrl);
  if (!service !== !tenant) {
    const message = 'IRONFLOW_SERVICE_PASSWORD and IRONFLOW_TENANT_PASSWORD: set both or neither';
    throw new IronflowError('invalid', 'config_invalid', message);
  }
  return migrate({
    ownerUrl,
    log: say,
    ...(service && tenant ? { servicePasswords: { service, tenant } } : {}),
  }).catch((error: unknown) => {
    throw describeDatabaseError(ownerUrl, error);
  });
}

/** `ironflow migrate`: the only way to change a database's schema. */
import { migrate } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { describeDatabaseError, requireDatabaseUrl } from './external-servers.js';

export interface RunMigrationsOptions {
  env: NodeJS.ProcessEnv;
  say: (line: string) => void;
}

export async function runMigrations(options: RunMigrationsOptions): Promise<{ applied: string[] }> {
  const {
    DATABASE_URL: ownerUrl,
    IRONFLOW_SERVICE_PASSWORD: service,
    IRONFLOW_TENANT_PASSWORD: tenant,
  } = options.env;
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
    log: options.say,
    ...(service && tenant ? { servicePasswords: { service, tenant } } : {}),
  }).catch((error: unknown) => {
    throw describeDatabaseError(ownerUrl, error);
  });
}

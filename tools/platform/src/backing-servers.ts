/** PostgreSQL and NATS for the local platform: started here, or yours when DATABASE_URL or NATS_URL says so. */
import { describeDatabaseError, migrate, requireDatabaseUrl, serviceUrl } from '@ironflow/database';
import { natsOperatorFolder, readOperatorServerConfig } from '@ironflow/nats-accounts';
import { startNatsServer, startPostgres } from '@ironflow/testing';
import type { NatsServer, PostgresServer, PostgresServerOptions } from '@ironflow/testing';
import type { Lifecycle } from '@ironflow/service';
import type { DataFolder } from './data-folder.js';
import { checkNatsUrl } from './external-servers.js';

export interface BackingServersOptions {
  env: NodeJS.ProcessEnv;
  data: DataFolder;
  lifecycle: Lifecycle;
  say: (line: string) => void;
  /** JetStream flushes every write to disk before it acknowledges. */
  syncAlways?: boolean;
  /** Of ours; what trades its safety for speed is for tests only. */
  postgres?: Pick<PostgresServerOptions, 'durable' | 'template'>;
}

export interface BackingServers {
  natsUrl: string;
  /** Where migrations run. */
  ownerUrl: string;
  serviceUrl: string;
  tenantUrl: string;
  /** What services show our nats-server in operator mode. */
  natsEnv: NodeJS.ProcessEnv;
  /** Absent when they are somebody else's. */
  nats: NatsServer | undefined;
  postgres: PostgresServer | undefined;
}

export async function startBackingServers(options: BackingServersOptions): Promise<BackingServers> {
  const { data, lifecycle } = options;
  // An empty variable counts as absent, as everywhere.
  const databaseUrl = options.env['DATABASE_URL'] || undefined;
  const natsUrl = options.env['NATS_URL'] || undefined;
  // Somebody else's servers are asked before ours are started.
  if (databaseUrl !== undefined) requireDatabaseUrl(databaseUrl);
  if (natsUrl !== undefined) await checkNatsUrl(natsUrl);
  const postgres = databaseUrl === undefined ? await startLocalPostgres(options) : undefined;
  const ownerUrl = postgres?.url ?? databaseUrl!;
  await bringSchema(ownerUrl, options);
  const nats = natsUrl === undefined ? await startLocalNats(options) : undefined;
  lifecycle.stopping.throwIfAborted();
  const { servicePassword, tenantPassword } = data.secrets;
  return {
    nats,
    postgres,
    ownerUrl,
    natsUrl: nats?.url ?? natsUrl!,
    natsEnv: nats === undefined ? {} : natsEnvOf(options.env),
    serviceUrl: serviceUrl(ownerUrl, 'ironflow_service', servicePassword),
    tenantUrl: serviceUrl(ownerUrl, 'ironflow_tenant', tenantPassword),
  };
}

async function bringSchema(ownerUrl: string, { data, env, say }: BackingServersOptions): Promise<void> {
  const { servicePassword: service, tenantPassword: tenant } = data.secrets;
  const { applied } = await migrate({
    ownerUrl,
    log: () => undefined,
    servicePasswords: { service, tenant },
  }).catch((error: unknown) => {
    throw env['DATABASE_URL'] ? describeDatabaseError(ownerUrl, error) : error;
  });
  say(
    applied.length === 0
      ? 'Database schema is current'
      : `Database schema: ${applied.length} migration${applied.length === 1 ? '' : 's'} applied`,
  );
}

async function startLocalPostgres(options: BackingServersOptions): Promise<PostgresServer> {
  const { data, lifecycle, say, postgres } = options;
  const server = await lifecycle.start('postgres', () =>
    startPostgres({ ...postgres, dataDir: data.postgresPath }),
  );
  say(`PostgreSQL on 127.0.0.1:${server.port} (embedded; DATABASE_URL chooses another)`);
  return server;
}

async function startLocalNats(options: BackingServersOptions): Promise<NatsServer> {
  const { data, lifecycle, say, syncAlways } = options;
  const folder = operatorFolderOf(options.env);
  const operator = folder === undefined ? {} : { operator: await readOperatorServerConfig(folder) };
  const server = await lifecycle.start('nats-server', () =>
    startNatsServer({
      ...{ storeDir: data.natsPath, ...operator, ...(syncAlways === undefined ? {} : { syncAlways }) },
    }),
  );
  say(`nats-server on 127.0.0.1:${server.port} with JetStream (NATS_URL chooses another)`);
  return server;
}

/** Of `ironflow nats init`; without it the server asks nobody who he is, and listens on this machine alone. */
function operatorFolderOf(env: NodeJS.ProcessEnv): string | undefined {
  return env['IRONFLOW_NATS_OPERATOR'] || undefined;
}

function natsEnvOf(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const folder = operatorFolderOf(env);
  if (folder === undefined) return {};
  const { platformCreds, accounts } = natsOperatorFolder(folder);
  return { NATS_CREDS_FILE: platformCreds, NATS_ACCOUNTS_FILE: accounts };
}

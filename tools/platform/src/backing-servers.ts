/** PostgreSQL and NATS for the local platform: started here, or yours when DATABASE_URL or NATS_URL says so. */
import { IronflowError } from '@ironflow/errors';
import { migrate, serviceUrl } from '@ironflow/database';
import { startNatsServer, startPostgres } from '@ironflow/testing';
import type { NatsServer, PostgresServer } from '@ironflow/testing';
import type { Lifecycle } from '@ironflow/service';
import type { DataFolder } from './data-folder.js';

export interface BackingServersOptions {
  env: NodeJS.ProcessEnv;
  data: DataFolder;
  lifecycle: Lifecycle;
  say: (line: string) => void;
  /** JetStream flushes every write to disk before it acknowledges. */
  syncAlways?: boolean;
  /** False trades Postgres' safety against power cuts for speed: tests only. */
  durable?: boolean;
}

export interface BackingServers {
  natsUrl: string;
  /** Where migrations run. */
  ownerUrl: string;
  serviceUrl: string;
  tenantUrl: string;
  /** Absent when they are somebody else's. */
  nats: NatsServer | undefined;
  postgres: PostgresServer | undefined;
}

export async function startBackingServers(options: BackingServersOptions): Promise<BackingServers> {
  const { env, data, lifecycle, say } = options;
  const postgres = env['DATABASE_URL'] === undefined ? await startLocalPostgres(options) : undefined;
  const nats = env['NATS_URL'] === undefined ? await startLocalNats(options) : undefined;
  const ownerUrl = postgres?.url ?? env['DATABASE_URL']!;
  if (!URL.canParse(ownerUrl)) {
    throw new IronflowError('invalid', 'config_invalid', 'DATABASE_URL: must be a postgresql:// URL');
  }
  const { servicePassword: service, tenantPassword: tenant } = data.secrets;
  const { applied } = await migrate({
    ownerUrl,
    log: () => undefined,
    servicePasswords: { service, tenant },
  });
  say(
    applied.length === 0
      ? 'Database schema is current'
      : `Database schema: ${applied.length} migrations applied`,
  );
  lifecycle.stopping.throwIfAborted();
  return {
    nats,
    postgres,
    ownerUrl,
    natsUrl: nats?.url ?? env['NATS_URL']!,
    serviceUrl: serviceUrl(ownerUrl, 'ironflow_service', service),
    tenantUrl: serviceUrl(ownerUrl, 'ironflow_tenant', tenant),
  };
}

async function startLocalPostgres(options: BackingServersOptions): Promise<PostgresServer> {
  const { data, lifecycle, say, durable } = options;
  const server = await lifecycle.start('postgres', () =>
    startPostgres({ dataDir: data.postgresPath, ...(durable === undefined ? {} : { durable }) }),
  );
  say(`PostgreSQL on 127.0.0.1:${server.port} (embedded; DATABASE_URL chooses another)`);
  return server;
}

async function startLocalNats(options: BackingServersOptions): Promise<NatsServer> {
  const { data, lifecycle, say, syncAlways } = options;
  const server = await lifecycle.start('nats-server', () =>
    startNatsServer({ storeDir: data.natsPath, ...(syncAlways === undefined ? {} : { syncAlways }) }),
  );
  say(`nats-server on 127.0.0.1:${server.port} with JetStream (NATS_URL chooses another)`);
  return server;
}

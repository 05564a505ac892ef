/** The local platform: servers, schema, an environment for its user, and every service. */
import {
  createAuthenticator,
  createDatabase,
  createTenantStore,
  generateOperatorKey,
  openEnvelope,
} from '@ironflow/database';
import type { Database, Secrets } from '@ironflow/database';
import type { Lifecycle, Logger } from '@ironflow/service';
import { isPortFree } from '@ironflow/testing';
import { startBackingServers } from './backing-servers.js';
import type { BackingServers, BackingServersOptions } from './backing-servers.js';
import { scheduleAsBatch } from './batch-scheduling.js';
import type { Scheduling } from './batch-scheduling.js';
import { openDataFolder } from './data-folder.js';
import type { Credentials, DataFolder } from './data-folder.js';
import { startFleet } from './fleet.js';
import type { Fleet, FleetOptions } from './fleet.js';
import { lockFolder } from './folder-lock.js';
import { startInProcess } from './in-process.js';
import { portTaken } from './port-taken.js';

export interface PlatformOptions {
  /** Where everything is kept. */
  dataFolder: string;
  env: NodeJS.ProcessEnv;
  lifecycle: Lifecycle;
  /** Of a service in this process. */
  loggerFor: (service: string) => Logger;
  say: (line: string) => void;
  host?: string;
  /** 0: any free one. */
  port: number;
  /** Absent: all services in this process. */
  processes?: { replicas: number; replicasOf?: FleetOptions['replicasOf'] };
  syncAlways?: boolean;
  postgres?: BackingServersOptions['postgres'];
}

export interface Platform extends Credentials {
  operatorKey: string;
  url: string;
  dataFolder: string;
  /** What the services were started with. */
  serviceEnv: NodeJS.ProcessEnv;
  servers: BackingServers;
  /** Of every process it started. */
  scheduling: Scheduling;
  /** With `processes`. */
  fleet: Fleet | undefined;
  /** Another environment, with credentials of its own. */
  createEnvironment(project: string, env: string): Promise<Credentials & { environmentId: string }>;
}

/** Where apps of a developer's machine and network are. */
const localRanges = '127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fd00::/8';
export const localEnvironment = { organization: 'local', project: 'local', env: 'dev' } as const;

export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { lifecycle, loggerFor, say, host = '127.0.0.1' } = options;
  const data = await openDataFolder(options.dataFolder);
  await lifecycle.start('data folder', () => lockFolder(data.path));
  // Before the servers are started for nothing; the listener itself finds out who comes in between.
  if (options.port !== 0 && !(await isPortFree(options.port))) throw portTaken(options.port);
  const scheduling = await scheduleAsBatch(options.env);
  const servers = await startBackingServers({ ...options, data });
  const operatorKey = await operatorKeyOf(options.env, data);
  const serviceEnv = {
    ...options.env,
    NATS_URL: servers.natsUrl,
    ...servers.natsEnv,
    DATABASE_URL: servers.serviceUrl,
    TENANT_DATABASE_URL: servers.tenantUrl,
    IRONFLOW_MASTER_KEY: data.secrets.masterKey,
    IRONFLOW_OPERATOR_KEY: operatorKey,
    IRONFLOW_OUTBOUND_ALLOW: options.env.IRONFLOW_OUTBOUND_ALLOW || localRanges,
  };
  const createEnvironment: Platform['createEnvironment'] = async (project, env) => {
    const path = { organization: localEnvironment.organization, project, env };
    const { scope, apiKey, signingKey } = await onboard(servers, data, path);
    return { environmentId: scope.environmentId, apiKey, signingKey };
  };
  const { apiKey, signingKey } = await localCredentials(servers, data);
  const credentials = { apiKey, signingKey, operatorKey };
  const started =
    options.processes === undefined
      ? {
          ...(await startInProcess({ env: serviceEnv, lifecycle, loggerFor, host, port: options.port })),
          fleet: undefined,
        }
      : await startProcesses({
          ...options,
          ...options.processes,
          host,
          env: serviceEnv,
          logFolder: data.path,
        });
  // The CLI finds the platform by this file.
  await data.writeCredentials({ ...credentials, url: started.url });
  say(`Ironflow at ${started.url}`);
  const { path: dataFolder } = data;
  return { ...credentials, ...started, dataFolder, serviceEnv, servers, scheduling, createEnvironment };
}

async function startProcesses(
  options: Parameters<typeof startFleet>[0],
): Promise<{ url: string; fleet: Fleet }> {
  const fleet = await startFleet(options);
  return { url: fleet.url, fleet };
}

/** The environment that a local user works in; its key is kept, as long as this database knows it. */
async function localCredentials(servers: BackingServers, data: DataFolder): Promise<Credentials> {
  const kept = await data.readCredentials();
  const isKnown = await withDatabase(servers, data, async (database, secrets) => {
    if (kept === undefined) return false;
    return (await createAuthenticator(database, secrets).authenticate(kept.apiKey)) !== undefined;
  });
  if (kept !== undefined && isKnown) return kept;
  const { apiKey, signingKey } = await onboard(servers, data, localEnvironment);
  return { apiKey, signingKey };
}

/** One that is given goes before that of the first start. */
async function operatorKeyOf(env: NodeJS.ProcessEnv, data: DataFolder): Promise<string> {
  if (env.IRONFLOW_OPERATOR_KEY) return env.IRONFLOW_OPERATOR_KEY;
  return (await data.readCredentials())?.operatorKey ?? generateOperatorKey();
}

function onboard(
  servers: BackingServers,
  data: DataFolder,
  path: { organization: string; project: string; env: string },
) {
  return withDatabase(servers, data, (database, secrets) =>
    createTenantStore(database, secrets).createEnvironment(path),
  );
}

async function withDatabase<T>(
  servers: BackingServers,
  data: DataFolder,
  work: (database: Database, secrets: Secrets) => Promise<T>,
): Promise<T> {
  const database = createDatabase({
    url: servers.serviceUrl,
    applicationName: 'ironflow-platform',
    maxConnections: 2,
  });
  try {
    return await work(database, await openEnvelope(database, data.secrets.masterKey));
  } finally {
    await database.close();
  }
}

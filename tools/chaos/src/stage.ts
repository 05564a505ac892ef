/**
 * The platform as processes: servers, two replicas of every service, and the apps. Everything reaches NATS through proxies, one
 * for each nats-server.
 */
import { join } from 'node:path';
import { startChild } from '@ironflow/bench';
import type { Child } from '@ironflow/bench';
import { createDatabase } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { isolatedEnv, startPlatform } from '@ironflow/platform';
import type { Platform } from '@ironflow/platform';
import { createLogger } from '@ironflow/service';
import type { Lifecycle } from '@ironflow/service';
import { eventually, freePort, startNatsCluster, startNatsServer, startPostgres } from '@ironflow/testing';
import type { NatsServer, PostgresServer } from '@ironflow/testing';
import type { EndpointMode } from './cases/breakers.js';
import { startNatsProxy } from './nats-proxy.js';
import type { NatsProxy } from './nats-proxy.js';
import { createRandom } from './random.js';

export interface StageOptions {
  folder: string;
  lifecycle: Lifecycle;
  seed: number;
  isCluster: boolean;
  syncAlways: boolean;
  replicas: number;
  say: (line: string) => void;
}

/** A process that can be struck. */
export interface Victim {
  readonly name: string;
  /** 0 while it does not run. */
  readonly pid: number;
  kill(): Promise<void>;
  /** SIGTERM, and waits for its end. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

export interface Stage {
  platform: Platform;
  environmentId: string;
  ledgerFile: string;
  /** Past the proxies, as a superuser: for whoever looks at the platform from outside. */
  database: Database;
  jetstream: JetStream;
  postgres: PostgresServer;
  natsServers: readonly NatsServer[];
  proxies: readonly NatsProxy[];
  services: readonly (Victim & { service: string })[];
  workers: readonly Victim[];
  endpoint: Victim;
  fragile: { become(mode: EndpointMode): Promise<void> };
}

const registeredWithinMs = 180_000;
/** Beyond any outage of a server that is injected. */
const startedAgainWithinMs = 120_000;
/**
 * Shorter than shipped (a minute each), so that what they lead to happens within the test: what is lost in mid-call is called
 * again after its deadline, and an endpoint that was out of reach is tried again once its breaker has been open for so long.
 */
const pushDeadlineMs = 10_000;
const breakerOpenMs = 3_000;

/** Of the pull app: each has a worker that pins the runs that it begins, beside those that have no build. */
const builds = ['blue', 'green'];

export async function setStage(options: StageOptions): Promise<Stage> {
  const { folder, lifecycle, say } = options;
  const postgres = await lifecycle.start('postgres', () =>
    startPostgres({ dataDir: join(folder, 'database') }),
  );
  const natsServers = await startNats(options);
  const proxies = await Promise.all(
    natsServers.map(({ port }, index) =>
      lifecycle.start('proxy', () =>
        startNatsProxy({ port, random: createRandom(options.seed, 'network', index) }),
      ),
    ),
  );
  const platform = await startPlatform({
    dataFolder: join(folder, 'platform'),
    env: {
      ...isolatedEnv(process.env),
      DATABASE_URL: postgres.url,
      NATS_URL: proxies.map(({ url }) => url).join(','),
      IRONFLOW_STREAM_REPLICAS: String(natsServers.length),
      IRONFLOW_PUSH_DEADLINE_MS: String(pushDeadlineMs),
      IRONFLOW_BREAKER_OPEN_MS: String(breakerOpenMs),
    },
    lifecycle,
    loggerFor: (service) => createLogger({ service, level: 'silent' }),
    say: () => undefined,
    port: 0,
    processes: { replicas: options.replicas },
  });
  const database = createDatabase({ url: postgres.url, applicationName: 'chaos', maxConnections: 4 });
  lifecycle.onStop('database', () => database.close());
  const jetstream = await connectJetStream({
    url: natsServers.map(({ url }) => url).join(','),
    name: 'chaos',
    replicas: natsServers.length,
  });
  lifecycle.onStop('jetstream', () => jetstream.close());
  const [environment] = await database.query<{ id: string }>(
    { name: 'chaos_environment', text: 'select id from environments' },
    [],
  );
  const ledgerFile = join(folder, 'ledger.jsonl');
  const apps = await startApps(platform, ledgerFile, options);
  await registered(database);
  say(`${platform.fleet!.members.length} processes of services, ${natsServers.length} of nats-server`);
  return {
    platform,
    environmentId: environment!.id,
    ledgerFile,
    database,
    jetstream,
    postgres,
    natsServers,
    proxies,
    services: platform.fleet!.members.map(serviceVictim),
    ...apps,
  };
}

async function startNats(options: StageOptions): Promise<readonly NatsServer[]> {
  const { folder, lifecycle, isCluster, syncAlways } = options;
  const storeDir = join(folder, 'nats');
  if (!isCluster) return [await lifecycle.start('nats', () => startNatsServer({ storeDir, syncAlways }))];
  const cluster = await lifecycle.start('nats', () => startNatsCluster({ storeDir, server: { syncAlways } }));
  return cluster.servers;
}

function serviceVictim(member: NonNullable<Platform['fleet']>['members'][number]) {
  const { service, replica } = member;
  return {
    service,
    name: `${service} ${replica}`,
    get pid() {
      return member.pid;
    },
    kill: () => member.kill(),
    stop: () => member.stop(),
    start: () => member.start(),
  };
}

async function startApps(platform: Platform, ledgerFile: string, { lifecycle, replicas }: StageOptions) {
  const env = {
    IRONFLOW_URL: platform.url,
    IRONFLOW_API_KEY: platform.apiKey,
    IRONFLOW_SIGNING_KEY: platform.signingKey,
    LEDGER: ledgerFile,
  };
  const appProcess = async (name: string, program: string, more: NodeJS.ProcessEnv): Promise<Victim> => {
    const victim = createAppProcess(name, new URL(`./${program}.js`, import.meta.url), { ...env, ...more });
    lifecycle.onStop(name, () => victim.kill());
    await victim.start();
    return victim;
  };
  const workers: Victim[] = [];
  for (let index = 0; index < replicas; index += 1) {
    workers.push(await appProcess(`worker ${index}`, 'app-worker', { APP: 'chaos-pull' }));
  }
  for (const build of builds) {
    workers.push(await appProcess(`worker ${build}`, 'app-worker', { APP: 'chaos-pull', BUILD: build }));
  }
  // Nothing is done to this one: its notes tell when the schedules fired.
  await appProcess('clock', 'app-worker', { APP: 'chaos-clock' });
  const endpoint = await appProcess('endpoint', 'app-endpoint', { PORT: String(await freePort()) });
  const fragilePort = String(await freePort());
  await appProcess('fragile', 'app-fragile', { PORT: fragilePort });
  const fragile = {
    become: async (mode: EndpointMode) =>
      void (await fetch(`http://127.0.0.1:${fragilePort}/${mode}`, { method: 'PUT' })),
  };
  return { workers, endpoint, fragile };
}

function createAppProcess(name: string, program: URL, env: NodeJS.ProcessEnv): Victim {
  let child: Child | undefined;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child;
    child = undefined;
    await ending?.end(signal);
  };
  return {
    name,
    get pid() {
      return child?.pid ?? 0;
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    start: async () => {
      child = await startChild(program, env);
    },
  };
}

/** As what supervises it does: one that finds no server ends, and is started anew. */
export async function startAgain(victim: Victim): Promise<void> {
  const start = async (): Promise<void> => {
    try {
      await victim.start();
    } catch (error) {
      // It may run and not be ready: two of them would share a port.
      await victim.kill();
      throw error;
    }
  };
  await eventually(start, { timeoutMs: startedAgainWithinMs, intervalMs: 500, description: victim.name });
}

function registered(database: Database): Promise<void> {
  const apps = 4;
  return eventually(
    async () => {
      const [row] = await database.query<{ apps: number }>(
        { name: 'chaos_registered', text: 'select count(distinct app_id)::int as apps from functions' },
        [],
      );
      if (row!.apps < apps) throw new Error(`${row!.apps} of ${apps} apps are registered`);
    },
    { timeoutMs: registeredWithinMs, intervalMs: 100, description: 'the apps' },
  );
}

/**
 * What an integration test file needs, in one call: a PostgreSQL and a NATS server of its own, both started at the same
 * time in a scratch folder, and databases that no other test has seen.
 *
 * The shared servers are one a test file (Jest gives each file modules of its own), started by whoever asks first;
 * `stopSharedServers` belongs into the file's `afterAll`.
 *
 * Where a template of PostgreSQL's folder has been made (`IRONFLOW_TEST_POSTGRES`, see tools/setup/jest-servers.mjs), servers begin as its
 * copies, and databases as copies of the migrated one in it.
 */
import { randomBytes } from 'node:crypto';
import { startNatsServer, type NatsServer } from './nats-server.js';
import { startPostgres, type PostgresServer, type PostgresServerOptions } from './postgres.js';
import { createScratch } from './scratch.js';

/** Of a template of PostgreSQL's folder: the database to which this build's migrations were applied. */
export const migratedDatabase = 'migrated';

const template = (): string | undefined => process.env['IRONFLOW_TEST_POSTGRES'];

/** How a server is started that nobody needs again. */
export function throwAwayPostgres(): Pick<PostgresServerOptions, 'durable' | 'template'> {
  return { durable: false, template: template() };
}

export interface TestServers {
  readonly postgresUrl: string;
  readonly natsUrl: string;
  readonly postgres: PostgresServer;
  readonly nats: NatsServer;
  /** A database for one test; gives its URL. It is empty, or has this build's schema: `migrate` finds out which. */
  createDatabase(): Promise<string>;
  createEmptyDatabase(): Promise<string>;
  stop(): Promise<void>;
}

export async function startTestServers(): Promise<TestServers> {
  const starts = await Promise.allSettled([startScratchPostgres(), startScratchNats()]);
  const [postgres, nats] = starts;
  if (postgres.status === 'rejected' || nats.status === 'rejected') {
    for (const start of starts) if (start.status === 'fulfilled') await start.value.remove();
    throw postgres.status === 'rejected' ? postgres.reason : (nats as PromiseRejectedResult).reason;
  }
  return {
    postgresUrl: postgres.value.server.url,
    natsUrl: nats.value.server.url,
    postgres: postgres.value.server,
    nats: nats.value.server,
    ...databasesOf(postgres.value.server),
    stop: async () => {
      await Promise.all([postgres.value.remove(), nats.value.remove()]);
    },
  };
}

export interface SharedPostgres {
  readonly server: PostgresServer;
  /** A database for one test; gives its URL. It is empty, or has this build's schema: `migrate` finds out which. */
  createDatabase(): Promise<string>;
  createEmptyDatabase(): Promise<string>;
}

let postgresStart: Promise<Scratched<PostgresServer>> | undefined;
let natsStart: Promise<Scratched<NatsServer>> | undefined;

export async function sharedPostgres(): Promise<SharedPostgres> {
  postgresStart ??= startScratchPostgres();
  const { server } = await postgresStart;
  return { server, ...databasesOf(server) };
}

export async function sharedNats(): Promise<NatsServer> {
  natsStart ??= startScratchNats();
  return (await natsStart).server;
}

export async function stopSharedServers(): Promise<void> {
  const starts = [postgresStart, natsStart];
  postgresStart = undefined;
  natsStart = undefined;
  for (const start of starts) {
    // A start that failed has cleaned up, and has told who asked for it.
    const scratched = await start?.catch(() => undefined);
    await scratched?.remove();
  }
}

interface Scratched<Server> {
  server: Server;
  /** Stops the server at once and removes its folder. */
  remove(): Promise<void>;
}

function startScratchPostgres(): Promise<Scratched<PostgresServer>> {
  return startScratched('postgres', (dataDir) => startPostgres({ ...throwAwayPostgres(), dataDir }));
}

function startScratchNats(): Promise<Scratched<NatsServer>> {
  return startScratched('nats', (storeDir) => startNatsServer({ storeDir }));
}

async function startScratched<Server extends { kill(): Promise<void> }>(
  name: string,
  start: (folder: string) => Promise<Server>,
): Promise<Scratched<Server>> {
  const scratch = await createScratch(name);
  try {
    const server = await start(scratch.path);
    // Nothing in the folder is needed again, so there is nothing to shut down in order.
    const remove = async () => {
      await server.kill();
      await scratch.remove();
    };
    return { server, remove };
  } catch (error) {
    await scratch.remove();
    throw error;
  }
}

type Databases = Pick<SharedPostgres, 'createDatabase' | 'createEmptyDatabase'>;

function databasesOf(server: PostgresServer): Databases {
  const name = (): string => `test_${randomBytes(8).toString('hex')}`;
  return {
    createDatabase: () => server.createDatabase(name(), template() && migratedDatabase),
    createEmptyDatabase: () => server.createDatabase(name()),
  };
}

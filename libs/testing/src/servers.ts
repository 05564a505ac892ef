/**
 * What an integration test file needs, in one call: a PostgreSQL and a NATS server of its own, both started at the same
 * time in a scratch folder, and databases that no other test has seen.
 *
 * The shared servers are one a test file (Jest gives each file modules of its own), started by whoever asks first;
 * `stopSharedServers` belongs into the file's `afterAll`.
 */
import { randomBytes } from 'node:crypto';
import { startNatsServer, type NatsServer } from './nats-server.js';
import { startPostgres, type PostgresServer } from './postgres.js';
import { createScratch } from './scratch.js';

export interface TestServers {
  readonly postgresUrl: string;
  readonly natsUrl: string;
  readonly postgres: PostgresServer;
  readonly nats: NatsServer;
  /** An empty database for one test; gives its URL. */
  createDatabase(): Promise<string>;
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
    createDatabase: () => createTestDatabase(postgres.value.server),
    stop: async () => {
      await Promise.all([postgres.value.remove(), nats.value.remove()]);
    },
  };
}

export interface SharedPostgres {
  readonly server: PostgresServer;
  /** An empty database for one test; gives its URL. */
  createDatabase(): Promise<string>;
}

let postgresStart: Promise<Scratched<PostgresServer>> | undefined;
let natsStart: Promise<Scratched<NatsServer>> | undefined;

export async function sharedPostgres(): Promise<SharedPostgres> {
  postgresStart ??= startScratchPostgres();
  const { server } = await postgresStart;
  return { server, createDatabase: () => createTestDatabase(server) };
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
  return startScratched('postgres', (dataDir) => startPostgres({ dataDir, durable: false }));
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

function createTestDatabase(server: PostgresServer): Promise<string> {
  return server.createDatabase(`test_${randomBytes(8).toString('hex')}`);
}

/**
 * Starts a real PostgreSQL on this machine, for tests and for the local platform. One server owns its folder (see
 * postgres-folder.ts), listens on loopback only, asks for its password, and ends with this process.
 *
 * 1. The port stays the same over a restart, so clients reconnect.
 * 2. Ready means: it answers a query, and the database `ironflow` exists.
 * 3. What is committed survives kill -9 always, and a power cut unless `durable` is false.
 */
import { IronflowError } from '@ironflow/errors';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { eventually } from './eventually.js';
import { launchPrefix } from './launch-prefix.js';
import { backUpPostgres } from './postgres-backup.js';
import { postgresProgram, type PostgresProgram } from './postgres-program.js';
import { preparePostgresFolder, superuser, type PostgresFolder } from './postgres-folder.js';
import { writeLaunchNote } from './predecessor.js';
import { takePort } from './server-port.js';
import { startServerProcess, type ServerProcess } from './server-process.js';

export interface PostgresServerOptions {
  /** Created if absent; kept when the server stops. */
  dataDir: string;
  /** Default: a free one. */
  port?: number;
  /** False trades safety against power cuts for speed, for tests. Default: true. */
  durable?: boolean;
  /** The folder of a server that does not run: a new folder begins as its copy. */
  template?: string | undefined;
  /** Default: 200. */
  connectionsMax?: number;
  /** Clients may connect by TLS. */
  tls?: { certFile: string; keyFile: string };
  /** Receives what the server writes, line by line. */
  log?: (line: string) => void;
}

export interface PostgresServer {
  /** Of the database `ironflow`, as superuser; contains the password. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Creates a database, empty or a copy of another one that nobody is connected to, and gives its URL. */
  createDatabase(name: string, template?: string): Promise<string>;
  /** While it runs, into a folder that another server can be started on. */
  backUp(target: string): Promise<void>;
  stop(): Promise<void>;
  /** As kill -9 of the server and all of its processes does; `restart` brings it back. */
  kill(): Promise<void>;
  /** Stops it if it runs. */
  restart(): Promise<void>;
}

const database = 'ironflow';
/** Recovery after a crash replays the log since the last checkpoint. */
const startWithinMs = 60_000;
const connectWithinMs = 5_000;
/** A fast shutdown writes a checkpoint first. */
const stopPatienceMs = 15_000;
/** Another program may take a free port before the server has it. */
const startAttemptsMax = 3;

export async function startPostgres(options: PostgresServerOptions): Promise<PostgresServer> {
  const { dataDir, template, durable = true } = options;
  const program = await postgresProgram();
  const folder = await preparePostgresFolder({ dataDir, template, program, durable });
  for (let attempt = 1; ; attempt += 1) {
    const port = await takePort(options.port, 'PostgreSQL');
    const settings = { ...options, durable, program, folder, port };
    try {
      return postgresServer(settings, await launch(settings));
    } catch (error) {
      const isRetryable = error instanceof IronflowError && error.code === 'port_taken';
      if (!isRetryable || attempt === startAttemptsMax) throw error;
    }
  }
}

interface Settings extends PostgresServerOptions {
  durable: boolean;
  program: PostgresProgram;
  folder: PostgresFolder;
  port: number;
}

function postgresServer(settings: Settings, started: ServerProcess): PostgresServer {
  let server = started;
  const stop = () => server.stop('SIGINT', stopPatienceMs);
  return {
    url: urlOf(settings, database),
    port: settings.port,
    get pid() {
      return server.pid;
    },
    createDatabase: async (name, template) => {
      await withClient(settings, (client) => createDatabase(client, settings, name, template));
      return urlOf(settings, name);
    },
    backUp: (target) =>
      withClient(settings, (client) =>
        backUpPostgres({
          dataDir: settings.dataDir,
          target,
          query: async (sql) => (await client.query<Record<string, string>>(sql)).rows,
        }),
      ),
    stop,
    kill: () => killWithChildren(server),
    restart: async () => {
      await stop();
      server = await launch(settings);
    },
  };
}

async function launch(settings: Settings): Promise<ServerProcess> {
  const { command } = launchPrefix({ deathSignal: 'INT', leaveRoot: true });
  const serverCommand = [...command, settings.program.postgres, '-D', settings.folder.cluster];
  const deadlineMs = performance.now() + startWithinMs;
  for (;;) {
    const server = await startServerProcess({
      command: [...serverCommand, ...serverSettings(settings)],
      log: settings.log,
    });
    writeLaunchNote(settings.folder.launchNote, server.pid);
    try {
      if (await becomesReady(server, settings)) return server;
    } catch (error) {
      await killWithChildren(server);
      throw error;
    }
    // After a kill -9 of the main process its children need a moment to notice, and hold the shared memory until then.
    const isHeldByChildren = server.recentOutput().includes('pre-existing shared memory block');
    if (!isHeldByChildren || performance.now() > deadlineMs) throw startFailure(server, settings);
    await delay(100);
  }
}

/** False when the server has ended instead. */
async function becomesReady(server: ServerProcess, settings: Settings): Promise<boolean> {
  const check = async () => {
    if (server.exit === undefined) await withClient(settings, (client) => ensureDatabase(client, settings));
  };
  await eventually(check, { timeoutMs: startWithinMs, description: `PostgreSQL on port ${settings.port}` });
  return server.exit === undefined;
}

async function ensureDatabase(client: pg.Client, settings: Settings): Promise<void> {
  const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [database]);
  if (rowCount === 0) await createDatabase(client, settings, database);
}

async function createDatabase(
  client: pg.Client,
  { durable }: Settings,
  name: string,
  template = 'template1',
): Promise<void> {
  // Without syncs a copy of the files is a tenth of the work of one through the log.
  const strategy = durable ? 'wal_log' : 'file_copy';
  const [created, copied] = [name, template].map((of) => client.escapeIdentifier(of));
  await client.query(`create database ${created} template ${copied} strategy ${strategy}`);
}

function startFailure(server: ServerProcess, { port }: Settings): IronflowError {
  const output = server.recentOutput();
  if (output.includes('Address already in use')) {
    const message = `port ${port} was taken by another program while PostgreSQL started`;
    return new IronflowError('unavailable', 'port_taken', message);
  }
  const message = `PostgreSQL ended while starting (${server.exit}):\n${output}`;
  return new IronflowError('unavailable', 'postgres_failed', message);
}

async function withClient<T>(settings: Settings, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: urlOf(settings, 'postgres'),
    connectionTimeoutMillis: connectWithinMs,
    query_timeout: startWithinMs,
  });
  // A server that is killed meanwhile also fails the query; without a listener it would end the process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Given on the command line, so that an old folder gets what this version of the launcher wants. */
function serverSettings({ port, durable, tls, connectionsMax = 200 }: Settings): string[] {
  const onOff = durable ? 'on' : 'off';
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: connectionsMax,
    shared_buffers: '128MB',
    fsync: onOff,
    // Always: without it a kill -9 loses what was committed last, and services have told NATS that it is kept.
    synchronous_commit: 'on',
    full_page_writes: onOff,
    wal_compression: 'on',
    max_wal_size: '2GB',
    // Queries of the hot paths are short; compiling them costs more than it saves.
    jit: 'off',
    timezone: 'UTC',
    // A server of a test is killed and its folder removed: what it shares with its children goes with the folder. In the
    // system's memory it would stay, a megabyte each time.
    dynamic_shared_memory_type: durable ? 'posix' : 'mmap',
    // Bounds what a client that hangs inside a transaction can hold up on a developer's machine.
    idle_in_transaction_session_timeout: '5min',
    ...(tls === undefined ? {} : { ssl: 'on', ssl_cert_file: tls.certFile, ssl_key_file: tls.keyFile }),
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** The children would end by themselves when they notice; a real kill -9 of everything leaves them no time to. */
async function killWithChildren(server: ServerProcess): Promise<void> {
  const children = await childrenOf(server.pid);
  await server.kill();
  for (const pid of children) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has noticed already.
    }
  }
}

/** Empty where the system does not tell (no /proc). */
async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text
    .split(' ')
    .map(Number)
    .filter((child) => child > 0);
}

function urlOf({ folder, port }: Settings, name: string): string {
  return `postgresql://${superuser}:${folder.password}@127.0.0.1:${port}/${encodeURIComponent(name)}`;
}

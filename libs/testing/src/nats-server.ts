/**
 * Starts a real nats-server with JetStream on this machine, for tests and for the local platform. One server owns its
 * folder: its configuration and its streams are in it. It listens on loopback only, and ends with this process.
 *
 * 1. Ports stay the same over a restart, so clients reconnect.
 * 2. Two servers never run on one folder: a predecessor without a launcher is ended first, one in use is an error.
 */
import { IronflowError } from '@ironflow/errors';
import { rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { eventually } from './eventually.js';
import { launchPrefix } from './launch-prefix.js';
import { natsServerProgram } from './nats-binary.js';
import { checkNatsHealth, checkNatsVersion, readNatsGreeting, type NatsHealth } from './nats-readiness.js';
import { settlePredecessor, writeLaunchNote } from './predecessor.js';
import { ensureServerFolder } from './server-folder.js';
import { takePort } from './server-port.js';
import { startServerProcess, type ServerProcess } from './server-process.js';

export interface NatsServerOptions {
  /** Created if absent; kept when the server stops. */
  storeDir: string;
  /** Default: a free one. */
  port?: number;
  /** Where the server tells about itself over HTTP. Default: a free one. */
  monitorPort?: number;
  /** Default: true. Without it the server has neither streams nor buckets. */
  jetstream?: boolean;
  /** Default: nats-server's own, 1 MiB. */
  maxPayloadBytes?: number;
  /** Syncs every write to disk before it is acknowledged, as production does. Default: false. */
  syncAlways?: boolean;
  /** What clients have to show. Default: nothing. */
  authorization?: { user: string; password: string } | { token: string } | { users: readonly NatsUser[] };
  /** Clients have to connect by TLS. */
  tls?: { certFile: string; keyFile: string };
  /** Operator mode, as `ironflow nats init` configures it; accounts that the server is told of are kept beside its streams. */
  operator?: NatsOperatorSettings;
  /** Default: `ironflow-<port>`. */
  serverName?: string;
  cluster?: NatsClusterMembership;
  /** Receives what the server writes, line by line. */
  log?: (line: string) => void;
}

/** All of them in one account. */
export interface NatsUser {
  user: string;
  password: string;
  /** Default: everything. */
  permissions?: { publish: { allow: readonly string[] }; subscribe: { allow: readonly string[] } };
}

export interface NatsOperatorSettings {
  operator: string;
  system_account: string;
  resolver: Readonly<Record<string, unknown>>;
  /** Accounts by their public keys. */
  resolver_preload: Readonly<Record<string, string>>;
}

export interface NatsClusterMembership {
  name: string;
  /** Where the other nodes reach this one. */
  port: number;
  /** The other nodes' addresses, such as `nats://127.0.0.1:6222`. */
  routes: readonly string[];
}

export interface NatsServer {
  readonly url: string;
  readonly port: number;
  readonly monitorUrl: string;
  readonly serverName: string;
  readonly pid: number;
  stop(): Promise<void>;
  /** As kill -9 does; `restart` brings it back. */
  kill(): Promise<void>;
  /** Stops it if it runs; `wipe` loses every stream and account, as a lost disk does. */
  restart(options?: { wipe?: boolean }): Promise<void>;
}

/** Streams are recovered before the server is ready; a large store takes its time. */
const startWithinMs = 20_000;
const stopPatienceMs = 10_000;
/** Another program may take a free port before the server has it. */
const startAttemptsMax = 3;

export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const storeDir = resolve(options.storeDir);
  await ensureServerFolder(storeDir);
  await settlePredecessor({
    notePath: launchNoteIn(storeDir),
    commandIncludes: [configPathIn(storeDir)],
    server: 'nats-server',
    folder: storeDir,
    stopSignal: 'SIGTERM',
    stopPatienceMs,
  });
  for (let attempt = 1; ; attempt += 1) {
    const settings = await chooseSettings(options, storeDir);
    try {
      return natsServer(settings, await launch(settings));
    } catch (error) {
      const isRetryable = error instanceof IronflowError && error.code === 'port_taken';
      if (!isRetryable || attempt === startAttemptsMax) throw error;
    }
  }
}

interface Settings extends NatsServerOptions {
  program: string;
  configPath: string;
  port: number;
  monitorPort: number;
  serverName: string;
}

async function chooseSettings(options: NatsServerOptions, storeDir: string): Promise<Settings> {
  const port = await takePort(options.port, 'NATS');
  const monitorPort = await takePort(options.monitorPort, 'the NATS monitor');
  if (options.cluster !== undefined) await takePort(options.cluster.port, 'the NATS cluster');
  const serverName = options.serverName ?? `ironflow-${port}`;
  const configPath = configPathIn(storeDir);
  return {
    ...options,
    storeDir,
    program: await natsServerProgram(),
    configPath,
    port,
    monitorPort,
    serverName,
  };
}

function natsServer(settings: Settings, started: ServerProcess): NatsServer {
  let server = started;
  const stop = () => server.stop('SIGTERM', stopPatienceMs);
  return {
    url: `nats://127.0.0.1:${settings.port}`,
    port: settings.port,
    monitorUrl: monitorUrlOf(settings),
    serverName: settings.serverName,
    get pid() {
      return server.pid;
    },
    stop,
    kill: () => server.kill(),
    restart: async ({ wipe = false } = {}) => {
      await stop();
      const lost = wipe ? [streamsPathIn(settings.storeDir), accountsPathIn(settings.storeDir)] : [];
      for (const folder of lost) await rm(folder, { recursive: true, force: true });
      server = await launch(settings);
    },
  };
}

/**
 * It shares the machine with everything else here. Threads that look for work on a busy machine take it from those that
 * have some: with half of the cores a run costs the whole platform some 7 % less. Who knows better sets GOMAXPROCS.
 */
export function natsServerEnv(): { GOMAXPROCS: string } {
  const half = Math.max(1, Math.floor(availableParallelism() / 2));
  return { GOMAXPROCS: process.env.GOMAXPROCS || String(half) };
}

async function launch(settings: Settings): Promise<ServerProcess> {
  await writeFile(settings.configPath, renderConfig(settings));
  const { command } = launchPrefix({ deathSignal: 'TERM', leaveRoot: false });
  const server = await startServerProcess({
    command: [...command, settings.program, '--config', settings.configPath],
    env: natsServerEnv(),
    log: settings.log,
  });
  writeLaunchNote(launchNoteIn(settings.storeDir), server.pid);
  try {
    await waitUntilReady(server, settings);
    return server;
  } catch (error) {
    await server.kill();
    throw error;
  }
}

async function waitUntilReady(server: ServerProcess, settings: Settings): Promise<void> {
  // A node alone in its cluster has no leader, and the others are started after it.
  const health: NatsHealth = settings.cluster === undefined ? 'complete' : 'jetstream-enabled';
  let version = '';
  const check = async () => {
    if (server.exit !== undefined) return;
    const greeting = await readNatsGreeting(settings.port);
    if (greeting.serverName !== settings.serverName) throw new Error('another server answers on its port');
    version = greeting.version;
    if (settings.jetstream !== false) await checkNatsHealth(monitorUrlOf(settings), health);
  };
  await eventually(check, { timeoutMs: startWithinMs, description: `nats-server on port ${settings.port}` });
  if (server.exit !== undefined) throw startFailure(server, settings);
  checkNatsVersion(version);
}

function startFailure(server: ServerProcess, { port }: Settings): IronflowError {
  const output = server.recentOutput();
  if (output.includes('address already in use')) {
    const message = `a port was taken by another program while nats-server started on ${port}`;
    return new IronflowError('unavailable', 'port_taken', message);
  }
  const message = `nats-server ended while starting (${server.exit}):\n${output}`;
  return new IronflowError('unavailable', 'nats_server_failed', message);
}

/** nats-server reads JSON as its own notation, so no quoting rules of ours are needed. */
function renderConfig({ storeDir, cluster, operator, ...settings }: Settings): string {
  const config = {
    server_name: settings.serverName,
    listen: `127.0.0.1:${settings.port}`,
    http: `127.0.0.1:${settings.monitorPort}`,
    ...(settings.maxPayloadBytes === undefined ? {} : { max_payload: settings.maxPayloadBytes }),
    ...(settings.authorization === undefined ? {} : { authorization: settings.authorization }),
    ...(settings.tls === undefined
      ? {}
      : { tls: { cert_file: settings.tls.certFile, key_file: settings.tls.keyFile } }),
    ...(settings.jetstream === false
      ? {}
      : {
          jetstream: {
            store_dir: streamsPathIn(storeDir),
            ...(settings.syncAlways ? { sync_interval: 'always' } : {}),
          },
        }),
    ...(operator === undefined
      ? {}
      : { ...operator, resolver: { ...operator.resolver, dir: accountsPathIn(storeDir) } }),
    ...(cluster === undefined
      ? {}
      : { cluster: { name: cluster.name, listen: `127.0.0.1:${cluster.port}`, routes: cluster.routes } }),
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

const configPathIn = (storeDir: string) => join(storeDir, 'nats-server.conf');
const launchNoteIn = (storeDir: string) => join(storeDir, 'launch.json');
const streamsPathIn = (storeDir: string) => join(storeDir, 'streams');
const accountsPathIn = (storeDir: string) => join(storeDir, 'accounts');
const monitorUrlOf = ({ monitorPort }: Settings) => `http://127.0.0.1:${monitorPort}`;

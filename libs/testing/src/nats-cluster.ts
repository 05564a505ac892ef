/**
 * Several nats-servers on this machine as one cluster, for what only a cluster shows: replicas, leaders, lost nodes.
 */
import { join } from 'node:path';
import { eventually } from './eventually.js';
import { freePorts } from './free-port.js';
import { checkNatsHealth } from './nats-readiness.js';
import { startNatsServer, type NatsServer, type NatsServerOptions } from './nats-server.js';

export interface NatsClusterOptions {
  /** Each node has a folder of its own inside. */
  storeDir: string;
  /** Default: 3. */
  nodes?: number;
  /** Default: `ironflow`. */
  name?: string;
  server?: Pick<NatsServerOptions, 'maxPayloadBytes' | 'syncAlways' | 'operator' | 'log'>;
}

export interface NatsCluster {
  readonly servers: readonly NatsServer[];
  /** For a client that should survive the loss of a node. */
  readonly urls: readonly string[];
  /** Resolves when every running node named here is in contact with the cluster's leader. */
  waitUntilReady(servers?: readonly NatsServer[]): Promise<void>;
  stop(): Promise<void>;
}

const leaderWithinMs = 30_000;

export async function startNatsCluster(options: NatsClusterOptions): Promise<NatsCluster> {
  const { storeDir, nodes = 3, name = 'ironflow', server = {} } = options;
  const ports = await freePorts(nodes);
  const servers = await startAll(
    ports.map((port, index) => ({
      ...server,
      storeDir: join(storeDir, `node-${index + 1}`),
      serverName: `${name}-${index + 1}`,
      cluster: {
        name,
        port,
        routes: ports.filter((other) => other !== port).map((other) => `nats://127.0.0.1:${other}`),
      },
    })),
  );
  const stop = () => stopAll(servers);
  const waitUntilReady = async (waitedFor: readonly NatsServer[] = servers) => {
    const waits = waitedFor.map(({ monitorUrl, serverName }) =>
      eventually(() => checkNatsHealth(monitorUrl, 'cluster'), {
        timeoutMs: leaderWithinMs,
        intervalMs: 50,
        description: `${serverName} to have a leader`,
      }),
    );
    await Promise.all(waits);
  };
  try {
    await waitUntilReady();
  } catch (error) {
    await stop();
    throw error;
  }
  return { servers, urls: servers.map(({ url }) => url), waitUntilReady, stop };
}

/** All or none: when one fails, those that started are stopped. */
async function startAll(options: NatsServerOptions[]): Promise<NatsServer[]> {
  const starts = await Promise.allSettled(options.map(startNatsServer));
  const servers = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
  const failed = starts.find((start) => start.status === 'rejected');
  if (failed === undefined) return servers;
  await stopAll(servers);
  throw failed.reason;
}

async function stopAll(servers: readonly NatsServer[]): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()));
}

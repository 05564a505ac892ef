/**
 * The service: management, queries and live views of one environment at a time, the caller's. Reads Postgres, registers
 * apps, and listens to notices. Started by main.ts in a process of its own, and by the local platform beside the others.
 */
import { createApiStore, createAuthenticator } from '@ironflow/database';
import type { Database, Secrets } from '@ironflow/database';
import type { JetStream } from '@ironflow/jetstream';
import { createHealth, createHttpServer } from '@ironflow/service';
import type { Clock, HttpServer, Logger, Metrics, Stoppable } from '@ironflow/service';
import { addHttpRoutes } from './http-routes.js';
import { createRegistryAnnouncer } from './registry-announcer.js';
import { createRunStreams } from './run-streams.js';

export interface ApiOptions {
  jetstream: JetStream;
  /** As ironflow_tenant: everything that answers a request goes through it. */
  database: Database;
  /** As ironflow_service: for telling services which registries changed. */
  platformDatabase: Database;
  secrets: Secrets;
  logger: Logger;
  metrics: Metrics;
  clock: Clock;
  version?: string;
  /** Where the routes go; absent: a server of its own. */
  http?: HttpServer;
  streamsMax?: number;
  heartbeatMs?: number;
}

export interface Api extends Stoppable {
  /** Listens when told to, or lends its handlers to another server. */
  readonly http: HttpServer;
  start(): Promise<void>;
  /** Ends the streams; requests under way are answered. */
  stop(): Promise<void>;
}

export function createApi(options: ApiOptions): Api {
  const { jetstream, database, logger, metrics, clock, version = '0.1.0' } = options;
  const stopping = new AbortController();
  const store = createApiStore(database);
  const announcer = createRegistryAnnouncer({ jetstream, database: options.platformDatabase, logger, clock });
  const streams = createRunStreams({
    jetstream,
    store,
    logger,
    metrics,
    clock,
    ...(options.streamsMax === undefined ? {} : { streamsMax: options.streamsMax }),
    ...(options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs }),
  });
  const http = options.http ?? createHttpServer({
    logger,
    metrics,
    clock,
    health: createHealth({ checks: createChecks(options), stopping: stopping.signal, clock }),
  });
  const authenticator = createAuthenticator(database, options.secrets);
  addHttpRoutes(http.app, { authenticator, database, store, announcer, streams, version });

  return {
    http,
    start: async () => {
      if (options.http === undefined) await http.ready();
      streams.start();
      announcer.start();
    },
    stop: async () => {
      stopping.abort();
      await streams.stop();
      await http.stop();
      await announcer.stop();
    },
  };
}

function createChecks({ database, jetstream }: ApiOptions) {
  const require = (isThere: boolean): void => {
    if (!isThere) throw new Error('not reachable');
  };
  return {
    postgres: async () => require(await database.isReachable()),
    nats: async () => require(jetstream.isConnected()),
  };
}

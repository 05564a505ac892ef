/**
 * The service: accepts events over HTTP and from INGEST, and hands them to the scheduler. Owns the `events` rows until
 * they are routed. Started by main.ts in a process of its own, and by the local platform beside the others.
 */
import { createAuthenticator, createIngestStore, createRegistryReader } from '@ironflow/database';
import type { Database, Secrets } from '@ironflow/database';
import type { JetStream } from '@ironflow/jetstream';
import { createHealth, createHttpServer } from '@ironflow/service';
import type { Clock, HttpServer, Logger, Metrics, SpanRecorder, Stoppable } from '@ironflow/service';
import { createAcceptance } from './acceptance.js';
import type { AcceptanceLimits } from './acceptance.js';
import { createEmit } from './emission.js';
import { createEnvironmentDirectory } from './environment-directory.js';
import { createFunctionDirectory } from './function-directory.js';
import { addHttpRoutes } from './http-routes.js';
import { createPublication } from './publication.js';
import { createRunReader } from './run-reader.js';
import { createStreamDoor } from './stream-door.js';
import { createWaiter } from './waiter.js';

export interface IngestOptions {
  jetstream: JetStream;
  /** As ironflow_tenant. */
  database: Database;
  secrets: Secrets;
  logger: Logger;
  metrics: Metrics;
  spans: SpanRecorder;
  clock: Clock;
  /** Where the routes go; absent: a server of its own. */
  http?: HttpServer;
  acceptanceLimits?: Partial<AcceptanceLimits>;
}

export interface Ingest extends Stoppable {
  /** Listens when told to, or lends its handlers to another server. */
  readonly http: HttpServer;
  start(): Promise<void>;
  /** Waiting requests are answered with what is known; everything accepted is stored and published. */
  stop(): Promise<void>;
}

export function createIngest(options: IngestOptions): Ingest {
  const { jetstream, database, logger, metrics, clock } = options;
  const stopping = new AbortController();
  const store = createIngestStore(database);
  const registry = createRegistryReader(database);
  const reader = createRunReader(store);
  const limits = options.acceptanceLimits;
  const acceptance = createAcceptance({ store, metrics, ...(limits === undefined ? {} : { limits }) });
  const publication = createPublication({ jetstream, metrics, logger });
  const waiter = createWaiter({ notices: jetstream.notices, reader, metrics, logger, clock });
  const emit = createEmit({ acceptance, publication, waiter, spans: options.spans, metrics, clock });
  const environments = createEnvironmentDirectory(database);
  const streamDoor = createStreamDoor({ jetstream, emit, environments, metrics, logger, clock });
  const http = options.http ?? createHttpServer({
    logger,
    metrics,
    clock,
    health: createHealth({ checks: createChecks(options), stopping: stopping.signal, clock }),
  });
  addHttpRoutes(http.app, {
    authenticator: createAuthenticator(database, options.secrets),
    functions: createFunctionDirectory({ registry, clock }),
    emit,
    metrics,
  });
  const leave: (() => unknown)[] = [];

  return {
    http,
    start: async () => {
      if (options.http === undefined) await http.ready();
      waiter.start();
      streamDoor.start();
      leave.push(await jetstream.bucket('SYS_functions').watch(registry.invalidate));
    },
    stop: async () => {
      stopping.abort();
      // Without NATS there is nobody to take leave of.
      await Promise.allSettled(leave.splice(0).map(async (step) => step()));
      await waiter.stop();
      await Promise.all([http.stop(), streamDoor.stop()]);
      await acceptance.stop();
      await publication.stop();
      await reader.stop();
    },
  };
}

function createChecks({ database, jetstream }: IngestOptions) {
  const require = (isThere: boolean): void => {
    if (!isThere) throw new Error('not reachable');
  };
  return {
    postgres: async () => require(await database.isReachable()),
    nats: async () => require(jetstream.isConnected()),
  };
}

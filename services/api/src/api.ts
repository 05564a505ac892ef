/**
 * The service: management, queries and live views of one environment at a time, the caller's. Reads Postgres, registers
 * apps, and listens to notices. Its routes are part of a server that somebody else owns.
 */
import {
  createApiStore,
  createApprovalStore,
  createAuthenticator,
  createConfigStore,
  createKvBucketStore,
  createScheduleStore,
  createSecretStore,
  createWebhookStore,
  createForcedBreakerStore,
} from '@ironflow/database';
import type { Database, Secrets } from '@ironflow/database';
import type { JetStream } from '@ironflow/jetstream';
import type { Clock, HttpServer, Logger, Metrics, Stoppable } from '@ironflow/service';
import { createConfigChanges } from './config-documents.js';
import { addHttpRoutes } from './http-routes.js';
import { createRegistryAnnouncer } from './registry-announcer.js';
import { createRunStreams } from './run-streams.js';
import { createTopicStreams } from './topic-streams.js';
import { createWatches } from './watches.js';

export interface ApiOptions {
  jetstream: JetStream;
  /** As ironflow_tenant: everything that answers a request goes through it. */
  database: Database;
  /** As ironflow_service: for telling services which registries changed, and for sealing with a new data key. */
  platformDatabase: Database;
  secrets: Secrets;
  logger: Logger;
  metrics: Metrics;
  clock: Clock;
  version: string;
  /** Where the routes go. Its owner stops it before the service. */
  http: HttpServer;
  /** Aborted before the server stops. */
  stopping?: AbortSignal;
  streamsMax?: number;
  heartbeatMs?: number;
  /** Of what is known of keys; milliseconds of a clock that never goes back. */
  elapsedMs?: () => number;
}

export interface Api extends Stoppable {
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function createApi(options: ApiOptions): Api {
  const { jetstream, database, logger, metrics, clock, http, version } = options;
  const store = createApiStore(database);
  const announcer = createRegistryAnnouncer({ jetstream, database: options.platformDatabase, logger, clock });
  const watching = {
    jetstream,
    logger,
    metrics,
    clock,
    ...(options.streamsMax === undefined ? {} : { streamsMax: options.streamsMax }),
    ...(options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs }),
  };
  const streams = createRunStreams({ ...watching, store });
  const topicStreams = createTopicStreams(watching);
  const watches = createWatches(watching);
  const configChanges = createConfigChanges(jetstream.notices);
  const authenticator = createAuthenticator(database, options.secrets, {
    ...(options.elapsedMs === undefined ? {} : { elapsedMs: options.elapsedMs }),
  });
  const { notices, topics, userBuckets } = jetstream;
  const kv = { kvBuckets: createKvBucketStore(database), userBuckets };
  const approvals = createApprovalStore(database, options.secrets);
  const schedules = createScheduleStore(database);
  const webhooks = createWebhookStore(database, options.secrets);
  const { platformDatabase, secrets } = options;
  const secretStore = createSecretStore({ database, platformDatabase, secrets });
  const settings = { secretStore, configStore: createConfigStore(database), configChanges, watches };
  const base = { authenticator, database, store, approvals, schedules, webhooks, announcer, version };
  const now = () => new Date(clock.now());
  const breakers = {
    circuits: jetstream.bucket('SYS_circuit_breakers'),
    forcedBreakers: createForcedBreakerStore(database),
    breakerActions: metrics.counter('api_breaker_actions_total', 'Breakers that operators changed, by how'),
  };
  addHttpRoutes(http.app, {
    ...base,
    ...breakers,
    ...settings,
    ...kv,
    streams,
    topicStreams,
    notices,
    topics,
    now,
  });
  // The server waits for open answers to end, and streams would go on.
  const stopStreams = () => Promise.all([streams.stop(), topicStreams.stop(), watches.stop()]);
  options.stopping?.addEventListener('abort', () => void stopStreams(), { once: true });

  return {
    start: async () => {
      streams.start();
      topicStreams.start();
      configChanges.start();
      announcer.start();
    },
    stop: async () => {
      await stopStreams();
      configChanges.stop();
      await announcer.stop();
    },
  };
}

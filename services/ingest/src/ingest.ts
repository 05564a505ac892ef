/**
 * The service: accepts events over HTTP and from INGEST, and hands them to the scheduler. Owns the `events` rows until
 * they are routed. Its routes are part of a server that somebody else owns.
 */
import {
  createApiStore,
  createAuditStore,
  createIngestStore,
  createRegistryReader,
  createScheduleStore,
} from '@ironflow/database';
import type { Database, Secrets } from '@ironflow/database';
import type { JetStream } from '@ironflow/jetstream';
import { createAuditTrail, createKeyAccess, createQuotaKeeper } from '@ironflow/service';
import type { Clock, HttpServer, Logger, Metrics, SpanRecorder, Stoppable } from '@ironflow/service';
import { createAcceptance } from './acceptance.js';
import type { AcceptanceLimits } from './acceptance.js';
import { createBulkReruns } from './bulk-reruns.js';
import { createDirectDoor } from './direct-door.js';
import { createEmit } from './emission.js';
import type { Emit } from './emission.js';
import { createFunctionDirectory } from './function-directory.js';
import { addHttpRoutes } from './http-routes.js';
import { createPace } from './pace.js';
import { createPublication } from './publication.js';
import { createReplay } from './replays.js';
import { createRerun } from './reruns.js';
import { createRunReader } from './run-reader.js';
import { createScheduleFirings } from './schedule-firings.js';
import { createStreamDoor } from './stream-door.js';
import { createWaiter } from './waiter.js';
import { createWebhookLog } from './webhook-log.js';
import { createWebhookRoom } from './webhook-room.js';
import { createWebhookSources } from './webhook-sources.js';

export interface IngestOptions {
  jetstream: JetStream;
  /** As ironflow_tenant. */
  database: Database;
  secrets: Secrets;
  logger: Logger;
  metrics: Metrics;
  spans: SpanRecorder;
  clock: Clock;
  /** Where the routes go. Its owner stops it before the service. */
  http: HttpServer;
  /** Aborted before the server stops. */
  stopping?: AbortSignal;
  acceptanceLimits?: Partial<AcceptanceLimits>;
  awaitedEventsMax?: number;
}

export interface Ingest extends Stoppable {
  start(): Promise<void>;
  /** Everything that was taken is stored and published. */
  stop(): Promise<void>;
}

export function createIngest(options: IngestOptions): Ingest {
  const { jetstream, database, logger, metrics, clock, http } = options;
  const store = createIngestStore(database);
  const registry = createRegistryReader(database);
  const reader = createRunReader(store);
  const limits = options.acceptanceLimits;
  const acceptance = createAcceptance({ store, metrics, ...(limits === undefined ? {} : { limits }) });
  const publication = createPublication({ jetstream, metrics, logger });
  const { notices } = jetstream;
  const waiter = createWaiter({
    ...{ notices, reader, metrics, logger, clock },
    ...(options.awaitedEventsMax === undefined ? {} : { awaitedEventsMax: options.awaitedEventsMax }),
  });
  const emit = createEmit({ acceptance, publication, waiter, notices, spans: options.spans, metrics, clock });
  const quotas = createQuotaKeeper({ service: 'ingest', database, jetstream, metrics, clock });
  // What comes by request. What the platform itself starts again has a pace of its own.
  const emitWithinQuotas: Emit = async (request) => {
    quotas.takeEvents(request.scope.environmentId, request.events);
    return emit(request);
  };
  const streamDoor = createStreamDoor({ jetstream, emit, store, metrics, logger, clock });
  const directDoor = createDirectDoor({ jetstream, store, quotas, metrics });
  const functions = createFunctionDirectory({ registry, clock });
  const rerun = createRerun({ store, functions, emit });
  const replay = createReplay({ store, rerun, publisher: jetstream.publisher });
  const pace = createPace(clock);
  const keyAccess = createKeyAccess({ database, secrets: options.secrets, notices, logger, clock });
  const webhookRoom = createWebhookRoom(metrics);
  const webhookSources = createWebhookSources(database, options.secrets);
  const webhookLog = createWebhookLog({ database, metrics, logger, clock });
  const auditTrail = createAuditTrail({ store: createAuditStore(database), logger, metrics, clock });
  addHttpRoutes(http.app, {
    authenticator: keyAccess.authenticator,
    auditTrail,
    quotas,
    acceptance,
    functions,
    emit: emitWithinQuotas,
    rerun,
    bulk: createBulkReruns({ store, functions, emit, replay, pace }),
    schedules: createScheduleFirings({ store: createScheduleStore(database), emit, pace, clock }),
    replay,
    events: createApiStore(database),
    webhooks: { sources: webhookSources, log: webhookLog, room: webhookRoom, clock },
    metrics,
    clock,
  });
  // Requests that wait are answered with what is known, before the server waits for them to end.
  options.stopping?.addEventListener('abort', () => void waiter.stop(), { once: true });
  const leave: (() => unknown)[] = [];

  return {
    start: async () => {
      waiter.start();
      keyAccess.start();
      quotas.start();
      streamDoor.start();
      directDoor.start();
      leave.push(await jetstream.bucket('SYS_functions').watch((id) => registry.invalidate(id)));
    },
    stop: async () => {
      // Without NATS there is nobody to take leave of.
      await Promise.allSettled(leave.splice(0).map(async (step) => step()));
      await waiter.stop();
      await directDoor.stop();
      await streamDoor.stop();
      await acceptance.stop();
      await keyAccess.stop();
      await webhookSources.stop();
      await webhookLog.stop();
      await publication.stop();
      await reader.stop();
      await auditTrail.stop();
      await quotas.stop();
    },
  };
}

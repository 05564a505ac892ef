/**
 * The service: management, queries and live views of one environment at a time, the caller's. Reads Postgres, registers
 * apps, and listens to notices. Its routes are part of a server that somebody else owns.
 */
import {
  createApiStore,
  createApprovalStore,
  createAuditStore,
  createApiKeyStore,
  createConfigStore,
  createKvBucketStore,
  createPlaceReader,
  createNatsAccountStore,
  createScheduleStore,
  createSecretStore,
  createWebhookStore,
  createExportStore,
  createForcedBreakerStore,
  createOperatorKeyStore,
  createQuotaStore,
  createRetentionSettings,
  createSigningKeyStore,
  createTenantAdmin,
} from '@ironflow/database';
import type { Database, RememberingAuthenticator, Secrets } from '@ironflow/database';
import type { AccountResolver, JetStream } from '@ironflow/jetstream';
import type { AccountSigners } from '@ironflow/nats-accounts';
import { createAuditTrail, createKeyAccess, createQuotaKeeper } from '@ironflow/service';
import type { Clock, HttpServer, Logger, Metrics, Stoppable } from '@ironflow/service';
import { createDirectNats } from './direct-nats.js';
import { createConfigChanges } from './config-documents.js';
import { addHttpRoutes } from './http-routes.js';
import { createOperatorAccess } from './operator-access.js';
import { createRegistryAnnouncer } from './registry-announcer.js';
import { createRunStreams } from './run-streams.js';
import { createTopicStreams } from './topic-streams.js';
import { createWatches } from './watches.js';

export interface ApiOptions {
  jetstream: JetStream;
  /** As ironflow_tenant: everything that answers a request goes through it. */
  database: Database;
  /** As ironflow_service: for operators, for telling services which registries changed, and for sealing with a new data key. */
  platformDatabase: Database;
  secrets: Secrets;
  /** The first key of an operator. Without one, only those that were made before are there. */
  operatorKey?: string | undefined;
  /** Where tenants may have credentials for NATS. */
  accounts?: { resolver: AccountResolver; signers: AccountSigners } | undefined;
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
  const { notices, topics } = jetstream;
  const audit = createAuditStore(database);
  const auditTrail = createAuditTrail({ store: audit, logger, metrics, clock });
  const { platformDatabase, secrets, elapsedMs } = options;
  const keyAccess = createKeyAccess({ database, secrets, notices, logger, clock, elapsedMs });
  const { authenticator } = keyAccess;
  keyAccess.onChange((environmentId) => {
    streams.recheck(environmentId);
    topicStreams.recheck(environmentId);
    watches.recheck(environmentId);
  });
  const quotaKeeper = createQuotaKeeper({ service: 'api', database, jetstream, metrics, clock });
  const natsAccounts = createNatsAccountStore(database, secrets);
  const directNats =
    options.accounts &&
    createDirectNats({
      ...{ ...options.accounts, accounts: natsAccounts, database: platformDatabase, logger, clock },
    });
  const base = { authenticator, audit, auditTrail, database, store, announcer, version };
  const now = () => new Date(clock.now());
  const breakers = {
    circuits: jetstream.bucket('SYS_circuit_breakers'),
    forcedBreakers: createForcedBreakerStore(database),
    breakerActions: metrics.counter('api_breaker_actions_total', 'Breakers that operators changed, by how', [
      'change',
    ]),
  };
  addHttpRoutes(http.app, {
    ...base,
    ...breakers,
    ...managing(options, authenticator),
    ...settingsOf(options),
    approvals: createApprovalStore(database, secrets),
    exportStore: createExportStore(database),
    schedules: createScheduleStore(database),
    webhooks: createWebhookStore(database, secrets),
    ...{ quotaKeeper, natsAccounts, directNats, configChanges, watches },
    ...{ streams, topicStreams, notices, topics, now },
  });
  // The server waits for open answers to end, and streams would go on.
  const stopStreams = () => Promise.all([streams.stop(), topicStreams.stop(), watches.stop()]);
  options.stopping?.addEventListener('abort', () => void stopStreams(), { once: true });

  return {
    start: async () => {
      keyAccess.start();
      streams.start();
      topicStreams.start();
      configChanges.start();
      announcer.start();
      quotaKeeper.start();
      directNats?.start();
    },
    stop: async () => {
      await stopStreams();
      await keyAccess.stop();
      configChanges.stop();
      await announcer.stop();
      await auditTrail.stop();
      await quotaKeeper.stop();
      await directNats?.stop();
    },
  };
}

/** Secrets, config documents and key-value buckets, and for how long things are kept. */
function settingsOf({ jetstream, database, platformDatabase, secrets }: ApiOptions) {
  return {
    secretStore: createSecretStore({ database, platformDatabase, secrets }),
    configStore: createConfigStore(database),
    retention: createRetentionSettings(database),
    kvBuckets: createKvBucketStore(database),
    userBuckets: jetstream.userBuckets,
  };
}

/** Keys, tenants and their quotas. */
function managing(
  { database, platformDatabase, secrets, operatorKey }: ApiOptions,
  authenticator: RememberingAuthenticator,
) {
  const operatorKeys = createOperatorKeyStore(platformDatabase, secrets);
  return {
    quotas: createQuotaStore(database),
    tenantAt: createPlaceReader(database),
    apiKeys: createApiKeyStore(database, secrets),
    signingKeys: createSigningKeyStore(database, secrets),
    operatorKeys,
    operatorAccess: createOperatorAccess({
      operatorKeys,
      authenticator,
      secrets,
      configuredKey: operatorKey,
    }),
    tenants: createTenantAdmin(platformDatabase, secrets),
  };
}

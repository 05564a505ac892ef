/**
 * From a service's definition to a running service: configuration, logger, connections, HTTP server, readiness. One way
 * for a process of its own (`runServiceProcess`) and for a guest of the local platform's process (`startService`).
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { IronflowError, messageOf } from '@ironflow/errors';
import { checkSchemaVersion, createDatabase, openEnvelope } from '@ironflow/database';
import type { Database, Secrets } from '@ironflow/database';
import { announceService, connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { consumerKindOf, streams } from '@ironflow/schema';
import type { StreamName } from '@ironflow/schema';
import { baseConfigShape, loadConfig, masterKeyConfigShape, tenantDatabaseConfigShape } from './config.js';
import { watchPool, watchReadiness } from './dependency-metrics.js';
import { createHealth } from './health.js';
import { createHttpServer } from './http.js';
import type { HttpServer } from './http.js';
import type { Lifecycle, Stoppable } from './lifecycle.js';
import { createLogger } from './logger.js';
import type { Logger } from './logger.js';
import { createMetrics } from './metrics.js';
import type { Metrics } from './metrics.js';
import { natsServersOf, natsTransportOf } from './nats-login.js';
import type { NatsServers } from './nats-login.js';
import { platformVersion } from './platform-version.js';
import { runService } from './run-service.js';
import { stopTimes } from './stop-times.js';
import { createSpanRecorder } from './telemetry.js';
import type { SpanRecorder } from './telemetry.js';
import { describeRisks, risksOf } from './transport-risks.js';

export interface ServiceDefinition<Shape extends z.ZodRawShape> {
  /** As in `services/<name>`. */
  name: string;
  /** One line, for `$SRV.INFO`. */
  description: string;
  /** `tenant`: the role that row-level security binds to one environment at a time. */
  databaseRole: 'service' | 'tenant';
  /** Variables beyond those of every service. */
  configShape: Shape;
  /**
   * How long its own stop may take to end or hand back what is under way. Its HTTP connections are cut a little later, and
   * the process ends later still; without it both have their defaults.
   */
  drainTimeoutMs?(config: z.infer<z.ZodObject<Shape>>): number;
  /** Builds and starts the service; its routes are added to `runtime.http`. */
  start(runtime: ServiceRuntime, config: z.infer<z.ZodObject<Shape>>): Promise<Stoppable>;
}

export interface ServiceRuntime {
  version: string;
  logger: Logger;
  metrics: Metrics;
  spans: SpanRecorder;
  jetstream: JetStream;
  /** For a connection of another login. */
  natsServers: NatsServers;
  database: Database;
  secrets: Secrets;
  http: HttpServer;
  /** Aborted as the process begins to stop, while the HTTP server still drains. */
  stopping: AbortSignal;
}

export interface StartOptions {
  env: NodeJS.ProcessEnv;
  lifecycle: Lifecycle;
  logger: Logger;
  /** False for a guest: its host serves requests through `http`. */
  listen: boolean;
}

export interface StartedService {
  name: string;
  http: HttpServer;
  metrics: Metrics;
  /** How long its whole stop may take. */
  stopTimeoutMs: number;
  /** Absent for a guest. */
  url?: string;
}

const { DATABASE_URL, ...roleFreeShape } = baseConfigShape;

/** Of every service, but for the database's login. */
export const serviceConfigShape = {
  ...roleFreeShape,
  ...masterKeyConfigShape,
  IRONFLOW_DATABASE_CONNECTIONS: z.coerce.number().int().min(2).max(500).default(10),
  /** 1 on a single server, 3 in a cluster. */
  IRONFLOW_STREAM_REPLICAS: z.coerce.number().int().min(1).max(5).default(1),
  /** JSON such as `{"STEPS": {"maxBytes": 1073741824}}`: sizes and ages that differ from the defaults. */
  IRONFLOW_STREAMS: z
    .string()
    .default('{}')
    .transform(parseJson)
    .pipe(
      z.partialRecord(
        z.enum(Object.keys(streams) as [StreamName, ...StreamName[]]),
        z.strictObject({
          maxBytes: z.number().int().positive().optional(),
          maxAgeMs: z.number().int().nonnegative().optional(),
        }),
      ),
    ),
};

type CommonConfig = z.infer<z.ZodObject<typeof serviceConfigShape>>;

export async function startService<Shape extends z.ZodRawShape>(
  definition: ServiceDefinition<Shape>,
  { env, lifecycle, logger, listen }: StartOptions,
): Promise<StartedService> {
  const { name } = definition;
  const { common, own, databaseUrl } = readServiceConfig(definition, { env, listen });
  const tls = listen ? await readCertificate(common) : undefined;
  const { httpDrainTimeoutMs, stopTimeoutMs } = stopTimes(definition.drainTimeoutMs?.(own));
  const part: Part = { name, common, lifecycle, logger };
  const { metrics, spans } = await startTelemetry(part);
  const database = await openDatabase(part, databaseUrl);
  watchPool(metrics, database);
  const jetstream = await openJetStream(part, metrics);
  const health = createHealth({
    checks: {
      nats: () => (jetstream.isConnected() ? Promise.resolve() : Promise.reject(new Error('disconnected'))),
      postgres: async () => {
        if (!(await database.isReachable())) throw new Error('unreachable');
      },
    },
    stopping: lifecycle.stopping,
  });
  watchReadiness(metrics, health);
  const { IRONFLOW_TRUSTED_PROXIES: trustedProxies } = common;
  const bounds = { drainTimeoutMs: httpDrainTimeoutMs };
  const http = createHttpServer({ logger, metrics, health, tls, trustedProxies, ...bounds });
  const identity = { name, version: platformVersion, description: definition.description };
  lifecycle.onStop(`${name} announcement`, await announceService(jetstream.connection, identity));
  const secrets = await openEnvelope(database, common.IRONFLOW_MASTER_KEY);
  const { stopping } = lifecycle;
  const version = platformVersion;
  const natsServers = natsServersOf(common);
  const runtime = {
    ...{ version, logger, metrics, spans, jetstream, natsServers, database, secrets, http, stopping },
  };
  await lifecycle.start(name, () => definition.start(runtime, own));
  // Stopped first, so that what still arrives finds everything behind it running.
  lifecycle.onStop(`${name} http`, () => http.stop());
  if (!listen) {
    await http.ready();
    return { name, http, metrics, stopTimeoutMs };
  }
  const { url } = await http.listen({ host: common.HOST, port: common.PORT });
  logger.info({ url }, 'listening');
  return { name, http, metrics, stopTimeoutMs, url };
}

/** All that a service is told by its environment; throws for what is missing, wrong, or open to others. */
export function readServiceConfig<Shape extends z.ZodRawShape>(
  definition: ServiceDefinition<Shape>,
  { env, listen }: Pick<StartOptions, 'env' | 'listen'>,
) {
  const common = loadConfig(z.object(serviceConfigShape), env);
  const own = loadConfig(z.object(definition.configShape), env);
  const databaseUrl = databaseUrlOf(definition.databaseRole, env);
  // A service of tenants may have a second login; one that it does not ask for is none of its affairs.
  const { DATABASE_URL: secondUrl } = own as { DATABASE_URL?: string };
  const databaseUrls = [databaseUrl, ...(secondUrl === undefined ? [] : [secondUrl])];
  refuseRisks(common, { databaseUrls, listen });
  return { common, own, databaseUrl };
}

/** The names of all variables that a service reads. */
export function serviceVariables({
  configShape,
  databaseRole,
}: Pick<ServiceDefinition<z.ZodRawShape>, 'configShape' | 'databaseRole'>): string[] {
  const login = databaseRole === 'service' ? { DATABASE_URL } : tenantDatabaseConfigShape;
  // OpenTelemetry's exporter reads the last one itself.
  return [...Object.keys({ ...serviceConfigShape, ...login, ...configShape }), 'OTEL_EXPORTER_OTLP_HEADERS'];
}

function refuseRisks(
  config: CommonConfig,
  { databaseUrls, listen }: { databaseUrls: readonly string[]; listen: boolean },
): void {
  const risks = risksOf({
    http: listen ? { host: config.HOST, isTls: config.TLS_CERT_FILE !== undefined } : undefined,
    nats: natsTransportOf(config),
    databaseUrls,
  }).filter((risk) => !config.IRONFLOW_ACCEPT_RISKS.includes(risk));
  if (risks.length > 0) throw new IronflowError('invalid', 'config_unsafe', describeRisks(risks));
}

/** Read once: one that was renewed is taken up with the next start. */
async function readCertificate({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }: CommonConfig) {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined || keyFile === undefined) {
    const message = 'bad configuration: TLS_CERT_FILE and TLS_KEY_FILE are given together';
    throw new IronflowError('invalid', 'config_invalid', message);
  }
  try {
    return { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
  } catch (error) {
    const message = `bad configuration: TLS_CERT_FILE or TLS_KEY_FILE cannot be read: ${messageOf(error)}`;
    throw new IronflowError('invalid', 'config_invalid', message, { cause: error });
  }
}

interface Part {
  name: string;
  common: CommonConfig;
  lifecycle: Lifecycle;
  logger: Logger;
}

async function startTelemetry({ name, common, lifecycle, logger }: Part) {
  const metrics = await lifecycle.start(`${name} metrics`, () => createMetrics({ service: name }));
  const spans = createSpanRecorder({
    service: name,
    endpoint: common.OTEL_EXPORTER_OTLP_ENDPOINT,
    sampleRatio: common.OTEL_TRACES_SAMPLER_ARG,
    metrics,
    logger,
  });
  lifecycle.onStop(`${name} spans`, () => spans.shutdown());
  return { metrics, spans };
}

async function openDatabase({ name, common, lifecycle }: Part, url: string): Promise<Database> {
  const database = createDatabase({
    url,
    applicationName: `ironflow-${name}`,
    maxConnections: common.IRONFLOW_DATABASE_CONNECTIONS,
  });
  lifecycle.onStop(`${name} database`, () => database.close());
  await checkSchemaVersion(database);
  return database;
}

async function openJetStream(
  { name, common, lifecycle, logger }: Part,
  metrics: Metrics,
): Promise<JetStream> {
  const redeliveries = metrics.counter(
    'redeliveries_total',
    'Messages that came although they had been delivered before; lanes of one kind together',
    ['stream', 'consumer'],
  );
  const jetstream = await connectJetStream({
    ...natsServersOf(common),
    user: common.NATS_USER,
    password: common.NATS_PASSWORD,
    token: common.NATS_TOKEN,
    credsFile: common.NATS_CREDS_FILE,
    name: `ironflow-${name}`,
    replicas: common.IRONFLOW_STREAM_REPLICAS,
    overrides: common.IRONFLOW_STREAMS,
    log: { info: (message) => logger.info(message), warn: (message) => logger.warn(message) },
    onStatus: (status) => logger.info({ status }, 'NATS'),
    onRedelivery: ({ stream, durable }) => redeliveries.add(1, { stream, consumer: consumerKindOf(durable) }),
  });
  lifecycle.onStop(`${name} jetstream`, () => jetstream.close());
  return jetstream;
}

/** The whole of a service's `main`. */
export async function runServiceProcess<Shape extends z.ZodRawShape>(
  definition: ServiceDefinition<Shape>,
): Promise<void> {
  const { LOG_LEVEL } = loadConfig(z.object({ LOG_LEVEL: baseConfigShape.LOG_LEVEL }));
  const logger = createLogger({ service: definition.name, level: LOG_LEVEL });
  let started: StartedService | undefined;
  await runService({
    name: definition.name,
    logger,
    stopTimeoutMs: () => started?.stopTimeoutMs ?? stopTimes(undefined).stopTimeoutMs,
    start: async (lifecycle) => {
      started = await startService(definition, { env: process.env, lifecycle, logger, listen: true });
    },
  });
}

/** A service gets the login of its role and needs no other. */
function databaseUrlOf(role: 'service' | 'tenant', env: NodeJS.ProcessEnv): string {
  if (role === 'service') return loadConfig(z.object({ DATABASE_URL }), env).DATABASE_URL;
  return loadConfig(z.object(tenantDatabaseConfigShape), env).TENANT_DATABASE_URL;
}

function parseJson(text: string, context: z.RefinementCtx): unknown {
  try {
    return JSON.parse(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'must be JSON' });
    return z.NEVER;
  }
}

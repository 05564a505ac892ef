/** An api over real PostgreSQL and NATS with two environments, and what the other services would have written. */
import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import {
  createApiKey,
  createCollectorStore,
  createDatabase,
  createEnvelope,
  createIngestStore,
  createOperatorKey,
  createSchedulerStore,
  createTenantStore,
  hashApiKey,
  migrate,
  serviceUrl,
} from '@ironflow/database';
import type { Database, EnvironmentCredentials, RunProgress, Secrets } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { createId, deriveRunId } from '@ironflow/schema';
import type { RunNoticeKind, RunStatus, Scope } from '@ironflow/schema';
import { createHealth, createHttpServer, createLogger, createMetrics, systemClock } from '@ironflow/service';
import type { Clock } from '@ironflow/service';
import { startTestServers } from '@ironflow/testing';
import type { TestServers } from '@ironflow/testing';
import { createApi } from '../api.js';

export interface ApiUnderTest {
  readonly servers: TestServers;
  readonly url: string;
  readonly ownerUrl: string;
  /** As ironflow_service. */
  readonly platform: Database;
  readonly jetstream: JetStream;
  readonly acme: EnvironmentCredentials;
  readonly globex: EnvironmentCredentials;
  readonly secrets: Secrets;
  readonly operatorKey: string;
  logged(): string;
  addKey(scope: Scope, role: 'developer' | 'viewer'): Promise<string>;
  revokeKeys(scope: Scope, role: string): Promise<void>;
  request(method: string, path: string, options?: { key?: string; body?: unknown }): Promise<Answer>;
  /** An event, routed to one run of the function `hello`. */
  addRun(scope: Scope, data?: unknown): Promise<{ eventId: string; runId: string }>;
  /** What the collector does with journal entries, notice included. */
  progress(
    run: { scope: Scope; runId: string; eventId: string },
    change: Partial<RunProgress> & Pick<RunProgress, 'prev' | 'journalSeq'>,
    told: { what: RunNoticeKind; status: RunStatus } | 'quietly',
  ): Promise<void>;
  stop(): Promise<void>;
}

export interface Answer {
  status: number;
  // The suite checks answers against the schemas of their routes.
  body: unknown;
}

export async function startApiUnderTest(
  options: { heartbeatMs?: number; streamsMax?: number; elapsedMs?: () => number; clock?: Clock } = {},
): Promise<ApiUnderTest> {
  const servers = await startTestServers();
  const ownerUrl = await servers.createDatabase();
  const passwords = { service: 'service-password', tenant: 'tenant-password' };
  await migrate({ ownerUrl, log: () => undefined, servicePasswords: passwords });
  const secrets = createEnvelope(randomBytes(32).toString('base64'));
  const platform = connect(ownerUrl, 'ironflow_service', passwords.service);
  const tenant = connect(ownerUrl, 'ironflow_tenant', passwords.tenant);
  const operatorKey = createOperatorKey(randomBytes(32));
  const tenants = createTenantStore(platform, secrets);
  const acme = await tenants.createEnvironment({ organization: 'acme', project: 'shop', env: 'prod' });
  const globex = await tenants.createEnvironment({ organization: 'globex', project: 'bank', env: 'prod' });
  const jetstream = await connectJetStream({ url: servers.natsUrl, name: 'test', replicas: 1 });
  const lines: string[] = [];
  const metrics = createMetrics({ service: 'api' });
  const stopping = new AbortController();
  const logger = createLogger({ service: 'api', level: 'trace', destination: collect(lines) });
  const http = createHttpServer({
    logger,
    metrics,
    health: createHealth({
      cacheMs: 0,
      checks: {
        nats: async () => {
          if (!jetstream.isConnected()) throw new Error('disconnected');
        },
      },
    }),
  });
  const api = createApi({
    jetstream,
    database: tenant,
    platformDatabase: platform,
    secrets,
    operatorKey,
    logger,
    http,
    stopping: stopping.signal,
    version: '0.0.0',
    metrics,
    clock: systemClock,
    ...options,
  });
  await api.start();
  const { url } = await http.listen({ host: '127.0.0.1', port: 0 });
  return {
    servers,
    url,
    ownerUrl,
    platform,
    jetstream,
    acme,
    globex,
    secrets,
    operatorKey,
    logged: () => lines.join(''),
    addKey: (scope, role) => addKey(platform, secrets, { scope, role }),
    revokeKeys: (scope, role) => revokeKeys(platform, scope, role),
    request: (method, path, { key = acme.apiKey, body } = {}) => send(url + path, { method, key, body }),
    addRun: (scope, data) => addRun(platform, scope, data),
    progress: (run, change, told) => progress({ platform, jetstream }, run, { change, told }),
    stop: async () => {
      stopping.abort();
      await http.stop();
      await api.stop();
      await metrics.stop();
      await jetstream.close();
      await Promise.all([tenant.close(), platform.close()]);
      await servers.stop();
    },
  };
}

export function newId(): string {
  return createId(Date.now(), randomBytes(10));
}

async function addKey(
  platform: Database,
  secrets: Secrets,
  { scope, role }: { scope: Scope; role: string },
): Promise<string> {
  const key = createApiKey(randomBytes(32));
  const keyHash = new Uint8Array(hashApiKey(key, secrets.apiKeyPepper));
  await platform.prisma.apiKey.create({
    data: { id: newId(), environmentId: scope.environmentId, name: role, keyHash, role },
  });
  return key;
}

async function revokeKeys(platform: Database, { environmentId }: Scope, role: string): Promise<void> {
  await platform.prisma.apiKey.updateMany({
    where: { environmentId, role },
    data: { revokedAt: new Date() },
  });
}

function connect(ownerUrl: string, role: 'ironflow_service' | 'ironflow_tenant', password: string): Database {
  return createDatabase({ url: serviceUrl(ownerUrl, role, password), applicationName: role });
}

function collect(lines: string[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
}

async function send(url: string, request: { method: string; key: string; body: unknown }): Promise<Answer> {
  const { method, key, body } = request;
  const response = await fetch(url, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const isPage = response.headers.get('content-type')?.startsWith('text/html') === true;
  return { status: response.status, body: await (isPage ? response.text() : response.json()) };
}

async function addRun(
  platform: Database,
  { environmentId }: Scope,
  data: unknown,
): Promise<{ eventId: string; runId: string }> {
  const eventId = newId();
  const event = {
    id: eventId,
    name: 'user.created',
    data: JSON.stringify(data ?? null),
    source: 'http' as const,
  };
  await createIngestStore(platform).storeEvents(environmentId, [event]);
  const runId = deriveRunId({ environmentId, eventId, functionId: 'hello' });
  const environment = await platform.prisma.environment.findFirstOrThrow({ where: { id: environmentId } });
  const run = { id: runId, environmentId, eventId, appId: 'app', functionId: 'hello', functionHash: 'hash' };
  await createSchedulerStore(platform).routeEvents(
    [
      {
        id: eventId,
        environmentId,
        awaitedAs: event.name,
        cancels: false,
        registryVersion: environment.registryVersion,
      },
    ],
    [{ ...run, mode: 'pull', status: 'queued', correlationId: eventId }],
  );
  return { eventId, runId };
}

async function progress(
  { platform, jetstream }: { platform: Database; jetstream: JetStream },
  { scope, runId, eventId }: { scope: Scope; runId: string; eventId: string },
  {
    change,
    told,
  }: {
    change: Partial<RunProgress> & Pick<RunProgress, 'prev' | 'journalSeq'>;
    told: { what: RunNoticeKind; status: RunStatus } | 'quietly';
  },
): Promise<void> {
  const { environmentId } = scope;
  const accepted = await createCollectorStore(platform).apply([
    { runId, environmentId, steps: [], startedAtMs: Date.now(), ...change },
  ]);
  if (accepted.length !== 1) throw new Error('the progress was not accepted');
  if (told === 'quietly') return;
  const run = { scope, runId, eventId, functionId: 'hello', appId: 'app', mode: 'pull' as const };
  const counts = { journalSeq: change.journalSeq, wake: 1, served: 0, steps: [] };
  jetstream.notices.publishRun({ ...run, ...counts, status: told.status }, told.what);
}

/**
 * An ingest over real PostgreSQL and NATS with two environments, and in place of the scheduler and the collector their
 * stores and notices: what they would write and say is written and said by the test.
 */
import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import {
  createApiKey,
  createCollectorStore,
  createDatabase,
  createEnvelope,
  createSchedulerStore,
  createTenantStore,
  createWebhookStore,
  hashApiKey,
  migrate,
  registerApp,
  serviceUrl,
} from '@ironflow/database';
import type { Database, EnvironmentCredentials, Secrets, WebhookStore } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { createId, deriveRunId, subjects } from '@ironflow/schema';
import type { RunNotice, Scope, StoredEvent } from '@ironflow/schema';
import {
  createHealth,
  createHttpServer,
  createLogger,
  createMetrics,
  createSpanRecorder,
  systemClock,
} from '@ironflow/service';
import { startTestServers } from '@ironflow/testing';
import type { TestServers } from '@ironflow/testing';
import { createIngest } from '../ingest.js';
import type { IngestOptions } from '../ingest.js';

export interface IngestUnderTest {
  readonly servers: TestServers;
  readonly url: string;
  readonly ownerUrl: string;
  /** As ironflow_service. */
  readonly platform: Database;
  readonly jetstream: JetStream;
  readonly acme: EnvironmentCredentials;
  readonly globex: EnvironmentCredentials;
  /** As the api has it. */
  readonly webhooks: WebhookStore;
  /** Everything logged so far. */
  logged(): string;
  addKey(scope: Scope, role: 'developer' | 'viewer'): Promise<string>;
  post(path: string, body: unknown, options?: PostOptions): Promise<Answer>;
  countEvents(scope: Scope): Promise<number>;
  /** Calls back for each event published from now on. */
  onEvent(listener: (event: StoredEvent) => void): () => void;
  stop(): Promise<void>;
}

export interface PostOptions {
  key?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Sent as it is. */
  raw?: boolean;
}

export interface Answer {
  status: number;
  headers: Headers;
  body: {
    ids?: string[];
    /** Of a rerun. */
    eventId?: string;
    runId?: string;
    /** Of a dead letter. */
    replayedAt?: string;
    runs?: {
      id: string;
      functionId: string;
      status: string;
      output?: unknown;
      error?: { message: string };
    }[];
    error?: { code: string; message: string; field?: string };
  };
}

export const helloFunction = { id: 'hello', triggers: [{ event: 'user.created' }] };

export async function startIngestUnderTest(
  overrides: Partial<Pick<IngestOptions, 'acceptanceLimits' | 'awaitedEventsMax' | 'clock' | 'spans'>> = {},
): Promise<IngestUnderTest> {
  const servers = await startTestServers();
  const ownerUrl = await servers.createDatabase();
  const passwords = { service: 'service-password', tenant: 'tenant-password' };
  await migrate({ ownerUrl, log: () => undefined, servicePasswords: passwords });
  const secrets = createEnvelope(randomBytes(32).toString('base64'));
  const platform = connect(ownerUrl, 'ironflow_service', passwords.service);
  const tenant = connect(ownerUrl, 'ironflow_tenant', passwords.tenant);
  const tenants = createTenantStore(platform, secrets);
  const acme = await tenants.createEnvironment({ organization: 'acme', project: 'shop', env: 'prod' });
  const globex = await tenants.createEnvironment({ organization: 'globex', project: 'bank', env: 'prod' });
  const jetstream = await connectJetStream({ url: servers.natsUrl, name: 'test', replicas: 1 });
  const lines: string[] = [];
  const metrics = createMetrics({ service: 'ingest' });
  const stopping = new AbortController();
  const logger = createLogger({ service: 'ingest', level: 'trace', destination: collect(lines) });
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
  const ingest = createIngest({
    jetstream,
    database: tenant,
    secrets,
    logger,
    http,
    stopping: stopping.signal,
    metrics,
    spans: createSpanRecorder({ service: 'ingest' }),
    clock: systemClock,
    ...overrides,
  });
  await ingest.start();
  const { url } = await http.listen({ host: '127.0.0.1', port: 0 });
  return {
    servers,
    url,
    ownerUrl,
    platform,
    jetstream,
    acme,
    globex,
    webhooks: createWebhookStore(tenant, secrets),
    logged: () => lines.join(''),
    addKey: (scope, role) => addKey(platform, secrets, { scope, role }),
    post: (path, body, options) => post(url + path, body, { key: acme.apiKey, ...options }),
    countEvents: (scope) => platform.prisma.event.count({ where: { environmentId: scope.environmentId } }),
    onEvent: (listener) => listenToEvents(jetstream, listener),
    stop: async () => {
      stopping.abort();
      await http.stop();
      await ingest.stop();
      await metrics.stop();
      await jetstream.close();
      await Promise.all([tenant.close(), platform.close()]);
      await servers.stop();
    },
  };
}

export async function registerHello(under: IngestUnderTest, scope: Scope): Promise<void> {
  await registerApp(under.platform, scope.environmentId, {
    id: 'app',
    mode: 'pull',
    functions: [{ ...helloFunction, retries: { attempts: 3, initialDelayMs: 1, factor: 2, maxDelayMs: 10 } }],
  });
}

/** What the scheduler does with an event: one run of `hello`, and who waits is told. Returns the run's id. */
export async function route(
  under: IngestUnderTest,
  event: StoredEvent,
  options: { quietly?: boolean } = {},
): Promise<string> {
  const { scope, id: eventId } = event;
  const { environmentId } = scope;
  const runId = deriveRunId({ environmentId, eventId, functionId: 'hello' });
  const [environment] = await under.platform.prisma.environment.findMany({ where: { id: environmentId } });
  const run = { id: runId, environmentId, eventId, appId: 'app', functionId: 'hello', functionHash: 'hash' };
  const outcome = await createSchedulerStore(under.platform).routeEvents(
    [
      {
        id: eventId,
        environmentId,
        awaitedAs: event.name,
        cancels: false,
        registryVersion: environment!.registryVersion,
      },
    ],
    [{ ...run, mode: 'pull', status: 'queued', correlationId: event.correlationId }],
  );
  if (outcome.routed[0] !== eventId) throw new Error('the event was not routed');
  if (options.quietly !== true) tellRouted(under, event, runId);
  return runId;
}

export function tellRouted(under: IngestUnderTest, { scope, id: eventId }: StoredEvent, runId: string): void {
  const runs = [{ id: runId, functionId: 'hello', status: 'queued' as const }];
  under.jetstream.notices.publishEventRouted({ scope, eventId, runs });
}

/** What the collector does at the end of a run. */
export async function complete(
  under: IngestUnderTest,
  event: StoredEvent,
  ending: { runId: string; output: string; omitOutput?: boolean; quietly?: boolean },
): Promise<void> {
  const { runId, output } = ending;
  await createCollectorStore(under.platform).apply([
    {
      runId,
      environmentId: event.scope.environmentId,
      prev: 0,
      journalSeq: 1,
      steps: [],
      status: 'completed',
      served: 1,
      startedAtMs: Date.now(),
      output,
    },
  ]);
  if (ending.quietly !== true)
    under.jetstream.notices.publishRun(completedNotice(event, ending), 'completed');
}

export function completedNotice(
  { scope, id: eventId }: StoredEvent,
  { runId, output, omitOutput }: { runId: string; output: string; omitOutput?: boolean },
): RunNotice {
  const run = { scope, runId, eventId, functionId: 'hello', appId: 'app', mode: 'pull' as const };
  const counts = { journalSeq: 1, wake: 1, served: 1, steps: [] };
  return {
    ...run,
    ...counts,
    status: 'completed',
    ...(omitOutput === true ? { outputOmitted: true } : { output }),
  };
}

/** The value of one of its metrics; labels as they are spelled. */
export async function metricOf(under: IngestUnderTest, name: string, labels = ''): Promise<number> {
  const text = await (await fetch(`${under.url}/metrics`)).text();
  const line = text
    .split('\n')
    .find((candidate) => candidate.startsWith(`ironflow_${name}`) && candidate.includes(labels));
  return Number(line?.split(' ').at(-1) ?? 0);
}

/** Makes everybody who stores an event wait, as long as it is held. */
export async function holdEvents(under: IngestUnderTest): Promise<{
  waiting(): Promise<number>;
  release(): Promise<void>;
}> {
  const owner = createDatabase({ url: under.ownerUrl, applicationName: 'holder' });
  let release = (): void => undefined;
  const isReleased = new Promise<void>((resolve) => (release = resolve));
  let done: Promise<void> | undefined;
  await new Promise<void>((isHeld) => {
    done = owner.transaction(async (transaction) => {
      await transaction.query({ name: 'hold', text: 'lock table events in access exclusive mode' }, []);
      isHeld();
      await isReleased;
    });
  });
  return {
    waiting: async () => {
      const [row] = await owner.query<{ count: number }>(waitingStatement, []);
      return row!.count;
    },
    release: async () => {
      release();
      await done;
      await owner.close();
    },
  };
}

const waitingStatement = {
  name: 'waiting',
  text: `select count(*)::int from pg_stat_activity
    where wait_event_type = 'Lock' and application_name = 'ironflow_tenant'`,
};

export function newId(): string {
  return createId(Date.now(), randomBytes(10));
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

async function post(url: string, body: unknown, options: PostOptions & { key: string }): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${options.key}`,
      ...options.headers,
    },
    body: options.raw === true ? (body as string) : JSON.stringify(body),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Answer['body'],
  };
}

function listenToEvents(jetstream: JetStream, listener: (event: StoredEvent) => void): () => void {
  const subscription = jetstream.connection.nats.subscribe(subjects.event({ project: '*', env: '*' }, '>'), {
    callback: (_error, message) => listener(message.json()),
  });
  return () => subscription.unsubscribe();
}

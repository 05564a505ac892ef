/**
 * A platform around the executor for its integration tests: real NATS and PostgreSQL, two environments, and stand-ins for
 * what the neighbours do (ingest and scheduler make runs and activate them, the api registers apps, the collector accepts).
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  createApiStore,
  createCollectorStore,
  createDatabase,
  createEnvelope,
  createIngestStore,
  createSchedulerStore,
  createTenantStore,
  migrate,
  registerApp,
  serviceUrl,
} from '@ironflow/database';
import type { Database, EnvironmentCredentials, RunProgress, Secrets } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream, JetStreamOptions, StoredJournalMessage } from '@ironflow/jetstream';
import { appManifestSchema, createId, defaultCircuitPolicy, deriveRunId, subjects } from '@ironflow/schema';
import type { JournalEntry, RunMode, Scope } from '@ironflow/schema';
import { createLogger, createMetrics, createSpanRecorder } from '@ironflow/service';
import { sharedNats, sharedPostgres } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { createExecutor } from '../executor.js';
import type { ExecutorOptions } from '../executor.js';
import { parseAddressRange } from '../outbound-rules.js';

export interface RunHandle {
  scope: Scope;
  runId: string;
  eventId: string;
  appId: string;
  functionId: string;
  mode: RunMode;
  /** It is activated on the lane of its environment. */
  bulk?: boolean;
}

export interface RunningExecutor {
  /** Where its workers connect and register. */
  readonly url: string;
  readonly jetstream: JetStream;
  readonly metrics: () => Promise<string>;
  stop(): Promise<void>;
}

export interface World {
  readonly nats: NatsServer;
  readonly jetstream: JetStream;
  readonly database: Database;
  readonly secrets: Secrets;
  /** What a service process would find in its environment. */
  readonly serviceEnv: Record<string, string>;
  readonly ours: EnvironmentCredentials;
  readonly theirs: EnvironmentCredentials;
  startExecutor(changes?: Partial<ExecutorOptions>): Promise<RunningExecutor>;
  register(
    scope: Scope,
    app: { id: string; url?: string },
    functions: Record<string, { attempts?: number; initialDelayMs?: number }>,
  ): Promise<void>;
  /** A run in PostgreSQL, not activated yet. */
  createRun(
    of: Pick<RunHandle, 'scope' | 'appId' | 'functionId' | 'mode'>,
    data?: unknown,
  ): Promise<RunHandle>;
  /** Publishes the run's activation, as the scheduler does; answers its sequence. */
  activate(run: RunHandle): Promise<number>;
  /** What the collector does with the run's journal. */
  accept(
    run: RunHandle,
    progress: Pick<RunProgress, 'prev' | 'journalSeq'> & Partial<RunProgress>,
  ): Promise<void>;
  /** What the API does; `quietly`: its notice gets lost. */
  cancel(run: RunHandle, how?: { quietly: boolean }): Promise<void>;
  /** The collector accepts the last message, which ends in a retry or a deferral, and its time comes. */
  retryDue(run: RunHandle): Promise<void>;
  journal(run: RunHandle): Promise<StoredJournalMessage[]>;
  entries(run: RunHandle): Promise<JournalEntry[]>;
  /** Whether an activation of the run is still in STEPS. */
  isActivated(run: RunHandle): Promise<boolean>;
  stop(): Promise<void>;
}

const password = 'a-test-password';

export async function createWorld(
  options: { nats?: NatsServer; overrides?: JetStreamOptions['overrides'] } = {},
): Promise<World> {
  const nats = options.nats ?? (await sharedNats());
  const connect = (name: string): Promise<JetStream> =>
    connectJetStream({ url: nats.url, name, replicas: 1, overrides: options.overrides ?? {} });
  const { database, databaseUrl, masterKey, secrets, ours, theirs } = await openDatabase();
  const jetstream = await connect('test');
  const executors: RunningExecutor[] = [];

  const journal = (run: RunHandle) => jetstream.journal.after(run.scope, run.runId, 0);
  const wake = async ({ runId }: RunHandle): Promise<void> => {
    const text = 'update runs set wake = wake + 1 where id = $1';
    await database.query({ name: 'test_wake', text }, [runId]);
  };
  const accept: World['accept'] = async (run, progress) => {
    const base = { runId: run.runId, environmentId: run.scope.environmentId, steps: [], startedAtMs: 1 };
    const accepted = await createCollectorStore(database).apply([{ ...base, ...progress }]);
    if (accepted.length !== 1) throw new Error('PostgreSQL did not accept it');
  };
  return {
    nats,
    jetstream,
    database,
    secrets,
    serviceEnv: { NATS_URL: nats.url, DATABASE_URL: databaseUrl, IRONFLOW_MASTER_KEY: masterKey },
    ours,
    theirs,
    startExecutor: async (changes = {}) => {
      const own = await connect('executor');
      const executor = await startExecutor({ database, secrets, jetstream: own, ours, theirs }, changes);
      executors.push(executor);
      return executor;
    },
    register: async (scope, { id, url }, functions) => {
      const manifest = appManifestSchema.parse({
        id,
        ...(url === undefined ? { mode: 'pull' } : { mode: 'push', url }),
        functions: Object.entries(functions).map(([functionId, retries]) => ({
          id: functionId,
          triggers: [{ event: 'test.happened' }],
          retries,
        })),
      });
      await registerApp(database, scope.environmentId, manifest);
    },
    createRun: (of, data = null) => createRun(database, of, data),
    activate: (run) => activate(jetstream, run),
    accept,
    cancel: async (run, { quietly } = { quietly: false }) => {
      await createApiStore(database).requestStop(run.scope.environmentId, run.runId);
      if (!quietly) jetstream.notices.publishStop(run);
    },
    retryDue: async (run) => {
      const { sequence, message } = (await journal(run)).at(-1)!;
      const entry = message.entries.at(-1);
      if (entry?.type !== 'run' || !('served' in entry.run)) throw new Error('the activation has not ended');
      const failures = 'retry' in entry.run ? entry.run.retry?.attempt : undefined;
      await accept(run, {
        prev: message.prev,
        journalSeq: sequence,
        status: 'waiting',
        served: entry.run.served,
        ...(failures === undefined ? {} : { failures }),
      });
      await wake(run);
    },
    journal,
    entries: async (run) => (await journal(run)).flatMap(({ message }) => message.entries),
    isActivated: async (run) => {
      const reply = await jetstream.connection.request({
        subject: '$JS.API.STREAM.MSG.GET.STEPS',
        data: JSON.stringify({ last_by_subj: subjects.activation(run.scope, run) }),
      });
      if (reply.kind !== 'message') throw new Error(`STEPS cannot be read: ${reply.kind}`);
      return 'message' in (JSON.parse(new TextDecoder().decode(reply.data)) as object);
    },
    stop: async () => {
      for (const executor of executors.splice(0)) await executor.stop();
      await jetstream.close();
      await database.close();
    },
  };
}

async function openDatabase() {
  const ownerUrl = await (await sharedPostgres()).createDatabase();
  await migrate({
    ownerUrl,
    log: () => undefined,
    servicePasswords: { service: password, tenant: password },
  });
  const url = serviceUrl(ownerUrl, 'ironflow_service', password);
  const database = createDatabase({ url, applicationName: 'executor-test' });
  const masterKey = randomBytes(32).toString('base64');
  const secrets = createEnvelope(masterKey);
  const tenants = createTenantStore(database, secrets);
  const environment = (env: string) => {
    const project = `p${randomBytes(6).toString('hex')}`;
    return tenants.createEnvironment({ organization: project, project, env });
  };
  return {
    ...{ database, databaseUrl: url, masterKey, secrets },
    ours: await environment('prod'),
    theirs: await environment('dev'),
  };
}

interface Ground {
  database: Database;
  secrets: Secrets;
  jetstream: JetStream;
  ours: EnvironmentCredentials;
  theirs: EnvironmentCredentials;
}

async function startExecutor(ground: Ground, changes: Partial<ExecutorOptions>): Promise<RunningExecutor> {
  const metrics = createMetrics({ service: 'executor' });
  const executor = createExecutor({
    ...ground,
    logger: createLogger({ service: 'executor', level: 'silent' }),
    metrics,
    spans: createSpanRecorder({ service: 'executor' }),
    circuitPolicy: defaultCircuitPolicy,
    pushConcurrency: 50,
    pushDeadlineMs: 10_000,
    outboundAllowed: [parseAddressRange('127.0.0.0/8')!],
    logLinesPerRunMax: 10_000,
    drainTimeoutMs: 100,
    ...changes,
  });
  await executor.start();
  const server = createServer((request, response) => {
    void registerFrom(ground, request).then((answer) => response.end(JSON.stringify(answer)));
  });
  server.on('upgrade', executor.handleUpgrade);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await executor.stop();
    server.close();
    server.closeAllConnections();
    await ground.jetstream.close();
    await metrics.stop();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    jetstream: ground.jetstream,
    metrics: () => metrics.render(),
    stop: () => (stopped ??= stop()),
  };
}

/** As the api does: the environment is the key's. */
async function registerFrom({ database, ours, theirs }: Ground, request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const manifest = appManifestSchema.parse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
  const { scope } = request.headers.authorization === `Bearer ${ours.apiKey}` ? ours : theirs;
  return registerApp(database, scope.environmentId, manifest);
}

async function createRun(
  database: Database,
  of: Pick<RunHandle, 'scope' | 'appId' | 'functionId' | 'mode'>,
  data: unknown,
): Promise<RunHandle> {
  const { scope, appId, functionId, mode } = of;
  const { environmentId } = scope;
  const eventId = createId(Date.now(), randomBytes(10));
  const event = { id: eventId, name: 'test.happened', data: JSON.stringify(data), source: 'http' as const };
  await createIngestStore(database).storeEvents(environmentId, [event]);
  const runId = deriveRunId({ environmentId, eventId, functionId });
  const environment = await database.prisma.environment.findFirstOrThrow({ where: { id: environmentId } });
  const run = { id: runId, environmentId, eventId, appId, functionId, functionHash: 'hash', mode };
  const outcome = await createSchedulerStore(database).routeEvents(
    [
      {
        id: eventId,
        environmentId,
        awaitedAs: event.name,
        cancels: false,
        registryVersion: environment.registryVersion,
      },
    ],
    [{ ...run, status: 'queued', correlationId: eventId }],
  );
  if (outcome.routed.length !== 1) throw new Error('the event was not routed');
  return { scope, runId, eventId, appId, functionId, mode };
}

async function activate(jetstream: JetStream, run: RunHandle): Promise<number> {
  const result = await jetstream.publisher.publish({
    subject: subjects.activation(run.scope, run),
    data: JSON.stringify({ runId: run.runId, scope: run.scope }),
  });
  if (result.kind !== 'stored') throw new Error(`the activation was not stored: ${result.kind}`);
  return result.sequence;
}

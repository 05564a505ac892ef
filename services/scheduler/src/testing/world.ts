/**
 * A platform around the scheduler for its integration tests: real NATS and PostgreSQL, two environments, and stand-ins
 * for what the neighbours do (ingest stores and publishes, executors take activations, the collector tells of yields).
 */
import { randomBytes } from 'node:crypto';
import {
  createDatabase,
  createEnvelope,
  createIngestStore,
  createTenantStore,
  migrate,
  registerApp,
  serviceUrl,
} from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { Delivery, JetStream } from '@ironflow/jetstream';
import {
  activationSchema,
  appManifestSchema,
  consumers,
  createId,
  parseSubject,
  pullConsumer,
  subjects,
  workerPresenceKey,
} from '@ironflow/schema';
import type {
  Activation,
  ConsumerDefinition,
  FlowControl,
  RunNotice,
  RunStatus,
  Scope,
  StoredEvent,
  Trigger,
} from '@ironflow/schema';
import { createLogger, createMetrics, createSpanRecorder } from '@ironflow/service';
import { sharedNats, sharedPostgres } from '@ironflow/testing';
import { createScheduler } from '../scheduler.js';
import type { Scheduler, SchedulerOptions } from '../scheduler.js';

export interface TakenActivation {
  activation: Activation;
  appId: string;
  functionId: string;
  takenAtMs: number;
  delivery: Delivery;
}

export interface RunRow {
  id: string;
  event_id: string;
  function_id: string;
  status: RunStatus;
  skip_reason: string | null;
  wake: number;
  served: number;
  traceparent: string | null;
}

export interface DeadLetterRow {
  id: string;
  environment_id: string | null;
  subject: string;
  reason: string;
  payload: Buffer;
}

type FunctionOfWorld = { triggers: Trigger[] } & FlowControl;

export interface World {
  readonly scopes: readonly [Scope, Scope];
  readonly database: Database;
  readonly jetstream: JetStream;
  /** Starts another scheduler; all are stopped at the end. */
  startScheduler(options?: Partial<SchedulerOptions>): Promise<Scheduler>;
  register(
    scope: Scope,
    app: { id: string; mode: 'push' | 'pull' },
    functions: Record<string, Trigger[] | FunctionOfWorld>,
  ): Promise<void>;
  /** As ingest commits it: nothing is published. */
  store(scope: Scope, names: string[], more?: Partial<StoredEvent>): Promise<StoredEvent[]>;
  /** As ingest publishes it, without the id that would let NATS drop a second one. */
  publish(events: readonly StoredEvent[]): Promise<void>;
  /** Takes push activations from now on, as an executor does; without `ack` they are held. */
  takePush(options?: { ack?: boolean }): TakenActivation[];
  /** The same of any consumer. */
  take(definition: ConsumerDefinition): TakenActivation[];
  takePull(scope: Scope, appId: string): Promise<TakenActivation[]>;
  announceWorker(scope: Scope, appId: string): Promise<void>;
  tellYielded(run: { id: string; scope: Scope }, more: Partial<RunNotice>): void;
  /** A timer has come, and the activation goes on. */
  tellArmed(run: { id: string; scope: Scope }, nextDueInMs: number): void;
  runs(): Promise<RunRow[]>;
  deadLetters(): Promise<DeadLetterRow[]>;
  stop(): Promise<void>;
}

const password = 'a-test-password';
const unlimited = 100_000;

export async function createWorld(): Promise<World> {
  const ground = await openGround();
  const { scopes, database, tenantDatabase, jetstream } = ground;
  const undo: (() => unknown)[] = [
    () => database.close(),
    () => tenantDatabase.close(),
    () => jetstream.close(),
  ];

  return {
    scopes,
    database,
    jetstream,
    startScheduler: async (options = {}) => {
      const { scheduler, close } = await startScheduler(database, options);
      undo.push(close, () => scheduler.stop());
      return scheduler;
    },
    register: async (scope, app, functions) => {
      const manifest = appManifestSchema.parse({
        ...app,
        ...(app.mode === 'push' ? { url: 'http://127.0.0.1:9/ironflow' } : {}),
        functions: Object.entries(functions).map(([id, of]) => ({
          id,
          ...(Array.isArray(of) ? { triggers: of } : of),
        })),
      });
      await registerApp(database, scope.environmentId, manifest);
    },
    store: async (scope, names, more = {}) => {
      const events = names.map((name) => ({
        id: createId(Date.now(), randomBytes(10)),
        name,
        data: '{"total":10}',
        source: 'http' as const,
        ...(more.data === undefined ? {} : { data: more.data }),
      }));
      const receipts = await createIngestStore(tenantDatabase).storeEvents(scope.environmentId, events);
      return events.map((event, index) => {
        const { receivedAtMs, correlationId } = receipts[index]!;
        return { ...event, scope, receivedAtMs, correlationId, ...more };
      });
    },
    publish: async (events) => {
      for (const event of events) {
        const subject = subjects.event(event.scope, event.name);
        const result = await jetstream.publisher.publish({ subject, data: JSON.stringify(event) });
        if (result.kind !== 'stored') throw new Error(`an event was not stored: ${result.kind}`);
      }
    },
    takePush: ({ ack = true } = {}) => {
      const taker = takeActivations(ground, consumers.pushExecutor, ack);
      undo.push(taker.stop);
      return taker.activations;
    },
    take: (definition) => {
      const taker = takeActivations(ground, definition, true);
      undo.push(taker.stop);
      return taker.activations;
    },
    takePull: async (scope, appId) => {
      const filterSubject = subjects.pullActivationsOf(scope, { appId });
      const definition = pullConsumer({ environmentId: scope.environmentId, lane: { appId }, filterSubject });
      await jetstream.provisioner.ensureConsumer(definition);
      const taker = takeActivations(ground, definition, true);
      undo.push(taker.stop);
      return taker.activations;
    },
    announceWorker: async ({ environmentId }, appId) => {
      const presence = { environmentId, appId, executor: 'executor-1', slots: 10 };
      await jetstream.bucket('SYS_workers').put(workerPresenceKey(presence), JSON.stringify(presence));
    },
    tellYielded: (run, more) => jetstream.notices.publishRun({ ...noticeOf(run), ...more }, 'yielded'),
    tellArmed: (run, nextDueInMs) =>
      jetstream.notices.publishRun({ ...noticeOf(run), status: 'running', nextDueInMs }, 'armed'),
    runs: () => database.query<RunRow>(readRuns, []),
    deadLetters: () => database.query<DeadLetterRow>(readDeadLetters, []),
    stop: async () => {
      for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
    },
  };
}

async function startScheduler(database: Database, options: Partial<SchedulerOptions>) {
  const jetstream = await connect();
  const scheduler = createScheduler({
    jetstream,
    database,
    logger: createLogger({ service: 'scheduler', level: 'silent' }),
    metrics: createMetrics({ service: 'scheduler' }),
    spans: createSpanRecorder({ service: 'scheduler' }),
    ...options,
  });
  await scheduler.start();
  return { scheduler, close: () => jetstream.close() };
}

function noticeOf({ id, scope }: { id: string; scope: Scope }): RunNotice {
  const of = { scope, runId: id, eventId: id, functionId: 'f', appId: 'shop', mode: 'push' as const };
  return { ...of, journalSeq: 1, status: 'waiting', wake: 1, served: 1, steps: [] };
}

interface Ground {
  scopes: readonly [Scope, Scope];
  database: Database;
  tenantDatabase: Database;
  jetstream: JetStream;
}

async function openGround(): Promise<Ground> {
  const ownerUrl = await (await sharedPostgres()).createDatabase();
  const servicePasswords = { service: password, tenant: password };
  await migrate({ ownerUrl, log: () => undefined, servicePasswords });
  const open = (role: 'ironflow_service' | 'ironflow_tenant'): Database =>
    createDatabase({ url: serviceUrl(ownerUrl, role, password), applicationName: 'scheduler-test' });
  const database = open('ironflow_service');
  const tenants = createTenantStore(database, createEnvelope(randomBytes(32).toString('base64')));
  const environment = async (env: string): Promise<Scope> => {
    // Streams are shared by the tests of a file: projects keep them apart.
    const project = `p${randomBytes(6).toString('hex')}`;
    return (await tenants.createEnvironment({ organization: project, project, env })).scope;
  };
  const scopes = [await environment('prod'), await environment('dev')] as const;
  return { scopes, database, tenantDatabase: open('ironflow_tenant'), jetstream: await connect() };
}

async function connect(): Promise<JetStream> {
  return connectJetStream({ url: (await sharedNats()).url, name: 'scheduler-test', replicas: 1 });
}

function takeActivations({ jetstream, scopes }: Ground, definition: ConsumerDefinition, ack: boolean) {
  const activations: TakenActivation[] = [];
  const onDelivery = (delivery: Delivery): void => {
    const place = parseSubject(delivery.subject);
    const isOurs = scopes.some(({ project }) => project === place?.project);
    if (place?.kind !== 'activation' || !isOurs) return delivery.term();
    const activation = activationSchema.parse(JSON.parse(delivery.text()));
    const { appId, functionId } = place;
    activations.push({ activation, appId, functionId, takenAtMs: Date.now(), delivery });
    if (ack) delivery.ack();
    consumer.wake();
  };
  const consumer = jetstream.consume(definition, { capacity: () => unlimited, onDelivery });
  return { activations, stop: () => consumer.stop() };
}

const readRuns = {
  name: 'test_read_runs',
  text: 'select id, event_id, function_id, status, skip_reason, wake, served, traceparent from runs order by id',
};
const readDeadLetters = {
  name: 'test_read_dead_letters',
  text: 'select id, environment_id, subject, reason, payload from dead_letters order by id',
};

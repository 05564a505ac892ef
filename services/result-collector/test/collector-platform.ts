/** A migrated database, a NATS server and collectors on them: what the integration tests of this service start from. */
import { randomBytes } from 'node:crypto';
import {
  createDatabase,
  createEnvelope,
  createIngestStore,
  createSchedulerStore,
  createTenantStore,
  migrate,
  serviceUrl,
} from '@ironflow/database';
import type { Database, NewRun } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { createId, deriveRunId } from '@ironflow/schema';
import type { JournalEntry, RunNotice, Scope } from '@ironflow/schema';
import { createLogger, createMetrics } from '@ironflow/service';
import type { RecordedSpan } from '@ironflow/service';
import { startTestServers } from '@ironflow/testing';
import type { TestServers } from '@ironflow/testing';
import { createResultCollector } from '../src/result-collector.js';
import type { ResultCollector, ResultCollectorOptions } from '../src/result-collector.js';

export interface Platform {
  servers: TestServers;
  service: Database;
  /** Sees what row-level security lets one environment see. */
  tenant: Database;
  jetstream: JetStream;
  ours: Scope;
  theirs: Scope;
  spans: RecordedSpan[];
  notices: RunNotice[];
  /** Text of the metrics of all collectors of this platform. */
  renderMetrics(): Promise<string>;
  startCollector(changes?: Partial<ResultCollectorOptions>): Promise<ResultCollector>;
  startRuns(scope: Scope, count: number, changes?: Partial<NewRun>): Promise<NewRun[]>;
  close(): Promise<void>;
}

const passwords = { service: 'service', tenant: 'tenant' };
export const freshId = (): string => createId(Date.now(), randomBytes(10));

export async function createPlatform(): Promise<Platform> {
  const servers = await startTestServers();
  const ownerUrl = await servers.createDatabase();
  await migrate({ ownerUrl, log: () => undefined, servicePasswords: passwords });
  const connect = (role: 'ironflow_service' | 'ironflow_tenant', password: string): Database =>
    createDatabase({ url: serviceUrl(ownerUrl, role, password), applicationName: 'test' });
  const service = connect('ironflow_service', passwords.service);
  const tenant = connect('ironflow_tenant', passwords.tenant);
  const tenants = createTenantStore(service, createEnvelope(randomBytes(32).toString('base64')));
  const ours = await tenants.createEnvironment({ organization: 'acme', project: 'shop', env: 'prod' });
  const theirs = await tenants.createEnvironment({ organization: 'other', project: 'bank', env: 'prod' });
  const jetstream = await connectJetStream({ url: servers.natsUrl, name: 'test', replicas: 1 });
  const metrics = createMetrics({ service: 'result-collector' });
  const spans: RecordedSpan[] = [];
  const notices: RunNotice[] = [];
  jetstream.notices.onRun('public.*.*.system.run.*.*', (notice) => notices.push(notice));
  const collectors: ResultCollector[] = [];
  const connections: JetStream[] = [];

  return {
    servers,
    service,
    tenant,
    jetstream,
    ours: ours.scope,
    theirs: theirs.scope,
    spans,
    notices,
    renderMetrics: () => metrics.render(),
    startCollector: async (changes = {}) => {
      const own = await connectJetStream({ url: servers.natsUrl, name: 'collector', replicas: 1 });
      connections.push(own);
      const collector = createResultCollector({
        jetstream: own,
        database: service,
        logger: createLogger({ service: 'result-collector', level: 'silent' }),
        metrics: { ...metrics, gauge: () => undefined },
        spans: recorderInto(spans),
        outstandingMax: 4_000,
        batchMax: 1_000,
        trimIntervalMs: 3_600_000,
        lingerMs: 10,
        ...changes,
      });
      collectors.push(collector);
      await collector.start();
      return collector;
    },
    startRuns: (scope, count, changes) => startRuns(service, tenant, scope, count, changes),
    close: async () => {
      for (const collector of collectors) await collector.stop();
      for (const connection of [jetstream, ...connections]) await connection.close();
      await Promise.all([service.close(), tenant.close()]);
      await servers.stop();
    },
  };
}

function recorderInto(spans: RecordedSpan[]): ResultCollectorOptions['spans'] {
  return {
    enabled: true,
    record: (span) => void spans.push(span),
    newSpanId: () => randomBytes(8).toString('hex'),
    newTraceId: () => randomBytes(16).toString('hex'),
    shouldSample: () => true,
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
    stop: () => Promise.resolve(),
  };
}

async function startRuns(
  service: Database,
  tenant: Database,
  scope: Scope,
  count: number,
  changes: Partial<NewRun> = {},
): Promise<NewRun[]> {
  const { environmentId } = scope;
  const events = Array.from({ length: count }, () => ({
    id: freshId(),
    name: 'order.created',
    data: '{}',
    source: 'http' as const,
  }));
  await createIngestStore(tenant).storeEvents(environmentId, events);
  const runs = events.map(({ id }): NewRun => ({
    id: deriveRunId({ environmentId, eventId: id, functionId: 'ship' }),
    environmentId,
    eventId: id,
    appId: 'app',
    functionId: 'ship',
    functionHash: 'hash',
    mode: 'push',
    status: 'queued',
    correlationId: id,
    ...changes,
  }));
  const outcome = await createSchedulerStore(service).routeEvents(
    events.map(({ id, name }) => ({
      id,
      awaitedAs: name,
      cancels: false,
      environmentId,
      registryVersion: 0,
    })),
    runs,
  );
  if (outcome.routed.length !== count) throw new Error('events were not routed');
  return runs;
}

let activations = 1;

/**
 * Appends a whole journal as one executor would, one message after the other; answers the sequences. `accepted` is where
 * Postgres stands of a run of which the stream has nothing any more.
 */
export async function drive(
  jetstream: JetStream,
  scope: Scope,
  runId: string,
  journal: JournalEntry[][],
  accepted = 0,
): Promise<number[]> {
  activations += 1;
  const writer = { activation: activations, delivery: 1, executor: 'test' };
  const sequences: number[] = [];
  for (const [index, entries] of journal.entries()) {
    const expectedSequence = sequences.at(-1) ?? 0;
    const prev = sequences.at(-1) ?? accepted;
    const message = {
      environmentId: scope.environmentId,
      runId,
      functionId: 'ship',
      prev,
      writer,
      activatedAtMs: Date.now(),
      entries,
    };
    const result = await jetstream.journal.append({ scope, message, expectedSequence, counter: index + 1 });
    if (result.kind !== 'appended') throw new Error(`not appended: ${result.kind}`);
    sequences.push(result.sequence);
  }
  return sequences;
}

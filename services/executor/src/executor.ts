/**
 * The executor: takes activations, checks them, drives the function over HTTP or on a worker's socket, and is the only
 * writer of journals. Any replica may be killed at any time: what it had is delivered again after one ack wait.
 */
import { randomUUID } from 'node:crypto';
import { createExecutorStore, createRegistryReader, createTenantStore } from '@ironflow/database';
import type { Database, Secrets } from '@ironflow/database';
import type { JetStream } from '@ironflow/jetstream';
import type { CircuitPolicy } from '@ironflow/schema';
import { createKeyAccess } from '@ironflow/service';
import type { Logger, Metrics, SpanRecorder, Stoppable } from '@ironflow/service';
import { createActivationDriver } from './activation-driver.js';
import { createCallAdmission } from './call-admission.js';
import { createCircuitGate } from './circuit-gate.js';
import { createExecutorMetrics } from './executor-metrics.js';
import { createIntake } from './intake.js';
import { createLeaseKeeper } from './lease.js';
import type { TimeSource } from './lease.js';
import { createLoadBound } from './load-bound.js';
import { createPullLanes } from './pull-lanes.js';
import { createPullDriver } from './pull-driver.js';
import type { AddressRange } from './outbound-rules.js';
import { createPushCaller } from './push-call.js';
import { createPushDriver } from './push-driver.js';
import { createPushIntake } from './push-intake.js';
import { createRunLogs } from './run-logs.js';
import { createSettlement } from './settlement.js';
import { createStopRequests } from './stop-requests.js';
import { createWorkerGateway } from './worker-gateway.js';
import type { WorkerGateway } from './worker-gateway.js';

export interface ExecutorOptions {
  jetstream: JetStream;
  database: Database;
  secrets: Secrets;
  logger: Logger;
  metrics: Metrics;
  spans: SpanRecorder;
  circuitPolicy: CircuitPolicy;
  /** Push calls at once. */
  pushConcurrency: number;
  pushDeadlineMs: number;
  /** Of push apps: what may be called though it is not public. */
  outboundAllowed: readonly AddressRange[];
  /** What loggers write is kept of a run up to so many lines. */
  logLinesPerRunMax: number;
  /** How long `stop` lets activations go on before it hands them back. */
  drainTimeoutMs: number;
  /** The clocks that leases are measured with; the process's own by default. */
  time?: TimeSource;
}

export interface Executor extends Stoppable {
  start(): Promise<void>;
  /** For the HTTP server that takes the workers' connections. */
  handleUpgrade: WorkerGateway['handleUpgrade'];
}

const connectionsMax = 10_000;
const drainPollMs = 20;
const processTime: TimeSource = { wallMs: Date.now, monotonicMs: () => performance.now() };

export function createExecutor(options: ExecutorOptions): Executor {
  const { jetstream, logger } = options;
  const parts = createParts(options);
  const { intake, leases, circuits, settlement, registry, caller, metrics, executor, stops, logs } = parts;
  const drive = createActivationDriver({ intake, stops, logger });
  const admission = createCallAdmission({ circuits, settlement });
  const { database, secrets } = options;
  const tenants = createTenantStore(database, secrets);
  const keyAccess = createKeyAccess({ database, secrets, notices: jetstream.notices, logger });
  const drivePush = createPushDriver({
    ...parts,
    admission,
    tenants,
    deadlineMs: options.pushDeadlineMs,
  });
  const drivePull = createPullDriver({ registry, admission, settlement });
  const load = createLoadBound();
  const push = createPushIntake({
    jetstream,
    load,
    nowMs: Date.now,
    concurrency: options.pushConcurrency,
    drive: (delivery) => drive(delivery, drivePush),
  });
  const pullLanes = createPullLanes({
    executor,
    jetstream,
    presence: jetstream.bucket('SYS_workers'),
    load,
    logger,
    drive: (delivery, workers) => drive(delivery, (run) => drivePull(run, workers)),
  });
  const gateway = createWorkerGateway({
    executor,
    authenticator: keyAccess.authenticator,
    registry,
    pullLanes,
    settlement,
    logs,
    metrics,
    logger,
    connectionsMax,
  });
  keyAccess.onChange((environmentId) => {
    tenants.forgetSigningKeys(environmentId);
    gateway.recheck(environmentId);
  });

  options.metrics.gauge('worker_connections', 'Workers connected', () => gateway.connections());
  options.metrics.gauge('active_activations', 'Activations being driven', () => leases.count());
  options.metrics.gauge('run_log_lines_waiting', 'Lines of runs to be stored', () => logs.waiting());
  const stop = async (): Promise<void> => {
    push.stop();
    gateway.drain();
    await pullLanes.stop();
    await drained(() => leases.count() === 0, options.drainTimeoutMs);
    leases.handBackAll('the executor stops');
    gateway.stop();
    await keyAccess.stop();
    await intake.stop();
    await logs.stop();
    circuits.stop();
    stops.stop();
    leases.stop();
    load.stop();
    await caller.close();
  };
  let stopped: Promise<void> | undefined;
  return {
    handleUpgrade: gateway.handleUpgrade,
    start: async () => {
      await circuits.start();
      keyAccess.start();
      stops.start();
      push.start();
    },
    stop: () => (stopped ??= stop()),
  };
}

/** What push and pull have in common. */
function createParts(options: ExecutorOptions) {
  const { jetstream, logger, spans } = options;
  const executor = randomUUID();
  const metrics = createExecutorMetrics(options.metrics);
  const now = (): number => Date.now();
  const isConnected = (): boolean => jetstream.isConnected();
  const store = createExecutorStore(options.database);
  const leases = createLeaseKeeper({
    time: options.time ?? processTime,
    isConnected,
    onLost: () => metrics.leasesLost.add(1),
  });
  return {
    executor,
    metrics,
    leases,
    registry: createRegistryReader(options.database),
    settlement: createSettlement({ spans, metrics, now, random: Math.random }),
    logs: createRunLogs({ store, metrics, logger, linesPerRunMax: options.logLinesPerRunMax }),
    caller: createPushCaller({ allowed: options.outboundAllowed }),
    stops: createStopRequests({
      notices: jetstream.notices,
      connection: jetstream.connection,
      store,
      logger,
    }),
    circuits: createCircuitGate({
      bucket: jetstream.bucket('SYS_circuit_breakers'),
      executor,
      policy: options.circuitPolicy,
      logger,
      now,
      random: Math.random,
    }),
    intake: createIntake({
      executor,
      store,
      journal: jetstream.journal,
      leases,
      isConnected,
      logger,
      metrics,
      spans,
      now,
    }),
  };
}

async function drained(isDrained: () => boolean, timeoutMs: number): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!isDrained() && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, drainPollMs));
  }
}

/**
 * The executor: takes activations, checks them, drives the function over HTTP or on a worker's socket, and is the only
 * writer of journals. Any replica may be killed at any time: what it had is delivered again after one ack wait.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { messageOf } from '@ironflow/errors';
import {
  createAuthenticator,
  createExecutorStore,
  createRegistryReader,
  createTenantStore,
} from '@ironflow/database';
import type { Database, Secrets } from '@ironflow/database';
import type { Delivery, JetStream } from '@ironflow/jetstream';
import { consumers } from '@ironflow/schema';
import type { CircuitPolicy } from '@ironflow/schema';
import type { Logger, Metrics, SpanRecorder, Stoppable } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';
import { createCircuitGate } from './circuit-gate.js';
import { createExecutorMetrics } from './executor-metrics.js';
import { createIntake } from './intake.js';
import type { Taken } from './intake.js';
import { createLeaseKeeper } from './lease.js';
import { createPullApps } from './pull-apps.js';
import { createPushCaller } from './push-call.js';
import { createPushDriver } from './push-driver.js';
import { createSettlement } from './settlement.js';
import { workerEndpoint } from './worker-connection.js';
import type { WorkerConnection } from './worker-connection.js';
import { createWorkerGateway } from './worker-gateway.js';

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
  /** How long `stop` lets activations go on before it hands them back. */
  drainTimeoutMs: number;
}

export interface Executor extends Stoppable {
  start(): Promise<void>;
  /** For the HTTP server that takes the workers' connections. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

const connectionsMax = 10_000;
/** Restarts of one activation; each follows another writer's progress, so more than a few mean that something is broken. */
const restartsMax = 20;
const retryDelayMs = 1_000;
const noSlotDelayMs = 50;

export function createExecutor(options: ExecutorOptions): Executor {
  const { jetstream, logger } = options;
  const executor = randomUUID();
  const metrics = createExecutorMetrics(options.metrics);
  const now = (): number => Date.now();
  const leases = createLeaseKeeper({ wallMs: Date.now, monotonicMs: () => performance.now() });
  const registry = createRegistryReader(options.database);
  const settlement = createSettlement({ spans: options.spans, metrics, now, random: Math.random });
  const caller = createPushCaller();
  const circuits = createCircuitGate({
    bucket: jetstream.bucket('SYS_circuit_breakers'),
    executor,
    policy: options.circuitPolicy,
    logger,
    now,
  });
  const intake = createIntake({
    executor,
    store: createExecutorStore(options.database),
    journal: jetstream.journal,
    leases,
    logger,
    metrics,
    now,
  });
  const drivePush = createPushDriver({
    registry,
    tenants: createTenantStore(options.database, options.secrets),
    caller,
    circuits,
    settlement,
    metrics,
    deadlineMs: options.pushDeadlineMs,
  });

  /** Takes a delivery and drives it until it is over, from the start again whenever another writer was there. */
  const drive = async (
    delivery: Delivery,
    driveRun: (run: ActiveRun) => Promise<'over' | 'restart'>,
  ): Promise<void> => {
    let taken: Taken = await intake.take(delivery);
    for (let restarts = 0; taken.kind === 'active'; restarts += 1) {
      const { lease } = taken.run;
      try {
        if ((await driveRun(taken.run)) === 'over') return;
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'an activation cannot be driven now; it comes again');
        return lease.handBack(retryDelayMs);
      }
      if (restarts >= restartsMax) return lease.handBack(retryDelayMs);
      taken = await intake.retake(delivery, lease);
    }
  };
  const drivePull = async (
    run: ActiveRun,
    pick: () => WorkerConnection | undefined,
  ): Promise<'over' | 'restart'> => {
    const known = await registry.atLeast(run.scope.environmentId, run.registryVersion);
    const admission = await circuits.admit({
      environmentId: run.scope.environmentId,
      functionId: run.functionId,
      endpoint: workerEndpoint,
    });
    if (admission.kind === 'wait') {
      pick();
      return (await settlement.defer(run, admission.inMs)) === 'restart' ? 'restart' : 'over';
    }
    const worker = pick();
    if (worker === undefined) {
      run.lease.handBack(noSlotDelayMs);
      return 'over';
    }
    const policy = known.functions.get(run.functionId)?.config.retries;
    return worker.drive(run, { policy, probe: admission.probe });
  };
  const pullApps = createPullApps({
    executor,
    jetstream,
    presence: jetstream.bucket('SYS_workers'),
    logger,
    drive: (delivery, pick) => drive(delivery, (run) => drivePull(run, pick)),
  });
  const gateway = createWorkerGateway({
    executor,
    authenticator: createAuthenticator(options.database, options.secrets),
    registry,
    pullApps,
    settlement,
    metrics,
    logger,
    connectionsMax,
  });
  const push = createPushIntake(options, (delivery) => drive(delivery, drivePush));

  options.metrics.gauge('worker_connections', 'Workers connected', () => gateway.connections());
  options.metrics.gauge('active_activations', 'Activations being driven', () => leases.count());
  return {
    handleUpgrade: gateway.handleUpgrade,
    start: async () => {
      await circuits.start();
      push.start();
    },
    stop: async () => {
      push.stop();
      await pullApps.stop();
      await drained(() => leases.count() === 0, options.drainTimeoutMs);
      await gateway.stop();
      await intake.stop();
      circuits.stop();
      leases.stop();
      await caller.close();
    },
  };
}

/** The consumer of push activations: as many at once as the executor may have calls open. */
function createPushIntake(options: ExecutorOptions, take: (delivery: Delivery) => Promise<void>) {
  let active = 0;
  let consumer: ReturnType<JetStream['consume']> | undefined;
  const onDelivery = (delivery: Delivery): void => {
    active += 1;
    take(delivery)
      .catch((error: unknown) =>
        options.logger.error(
          { reason: messageOf(error) },
          'an activation failed in this executor; it comes again',
        ),
      )
      .finally(() => {
        active -= 1;
        consumer?.wake();
      });
  };
  return {
    start: () => {
      consumer = options.jetstream.consume(consumers.pushExecutor, {
        capacity: () => options.pushConcurrency - active,
        onDelivery,
      });
    },
    stop: () => consumer?.stop(),
  };
}

async function drained(isDrained: () => boolean, timeoutMs: number): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!isDrained() && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The services as processes of the simulation: production modules, each with its own lines to the models. */
import { workerPresenceKey } from '@ironflow/schema';
import type { Registry } from '@ironflow/schema';
import type { Bucket, Delivery } from '@ironflow/jetstream';
import { consumers, pullConsumer, subjects } from '@ironflow/schema';
import {
  createActivationDriver,
  createCallAdmission,
  createIntake,
  createLeaseKeeper,
  createPullDriver,
  createPushDriver,
  createSettlement,
  createStopRequests,
} from '@ironflow/executor/parts';
import { createResultCollector } from '@ironflow/result-collector';
import { createTrimmer } from '@ironflow/result-collector/parts';
import { createScheduler } from '@ironflow/scheduler';
import type { NatsModel } from './nats-model.js';
import { scope } from './postgres-model.js';
import type { PostgresModel } from './postgres-model.js';
import type { Process, World } from './process.js';
import { createTraceLogger, silentExecutorMetrics, silentMetrics, silentSpans } from './silence.js';
import { createDatabase, createStores } from './stores.js';
import { noLogs, PullWorkers, pushCallerOf } from './tenant-apps.js';
import type { AppCode } from './tenant-apps.js';

export interface Platform {
  world: World;
  nats: NatsModel;
  postgres: PostgresModel;
  registry: () => Registry;
  code: AppCode;
}

export const appIds = { pull: 'pulling', push: 'pushing' } as const;
const presenceTtlMs = 5_000;
const nothing = (): void => undefined;
const nowhere: Bucket = {
  get: () => Promise.resolve(undefined),
  keys: () => Promise.resolve([]),
  entries: () => Promise.resolve([]),
  put: () => Promise.resolve(),
  create: () => Promise.resolve(true),
  update: () => Promise.resolve(true),
  delete: () => Promise.resolve(),
  watch: () => Promise.resolve(nothing),
};

function linesOf(platform: Platform, process: Process, bucket: Bucket = nowhere) {
  const { nats, postgres, registry, world } = platform;
  const now = (): number => world.time.nowMs;
  return {
    jetstream: nats.jetstreamOf(process, bucket),
    database: createDatabase({ process, postgres }),
    stores: createStores({ process, postgres, registry, now }),
    logger: createTraceLogger((line) => world.note(`${process.name} says: ${line}`)),
  };
}

export function startScheduler(platform: Platform, process: Process): void {
  const { jetstream, database, stores, logger } = linesOf(platform, process, presenceOf(platform, process));
  const { clock } = process;
  const scheduler = createScheduler({
    ...{ jetstream, database, logger, clock },
    store: stores.scheduler,
    registries: stores.registries,
    metrics: silentMetrics,
    spans: silentSpans,
  });
  void scheduler.start();
}

/** Which apps have a worker, as schedulers hear of it. */
function presenceOf({ world }: Platform, process: Process): Bucket {
  const presence = { environmentId: scope.environmentId, appId: appIds.pull, executor: 'any', slots: 1 };
  return {
    ...nowhere,
    get: () => Promise.resolve({ value: JSON.stringify(presence), revision: 1 }),
    watch: (onChange) => {
      const tell = (): void => {
        if (!process.isAlive) return;
        process.receive(() => onChange(workerPresenceKey(presence)));
        world.time.after(presenceTtlMs, tell);
      };
      tell();
      return Promise.resolve(nothing);
    },
  };
}

const collectorLimits = { outstandingMax: 100, batchMax: 20, lingerMs: 50, trimIntervalMs: 3_600_000 };
/** Small, so that what Postgres has is trimmed all the time. */
const trimLimits = { maxAgeMs: 3_600_000, maxBytes: 1_500, breakerPatienceMs: 1_000 };
const trimIntervalMs = 900;

export function startCollector(platform: Platform, process: Process): void {
  const { jetstream, database, stores, logger } = linesOf(platform, process);
  const { clock } = process;
  const base = { jetstream, database, logger, clock, metrics: silentMetrics, spans: silentSpans };
  void createResultCollector({ ...base, ...collectorLimits, store: stores.collector }).start();
  const metrics = { trimmed: silentExecutorMetrics.steps };
  const trimmer = createTrimmer({ ...base, metrics, intervalMs: trimIntervalMs, limits: trimLimits });
  trimmer.start();
  process.onDeath(() => void trimmer.stop());
}

const slotsOfExecutor = 8;
const pushDeadlineMs = 10_000;
const circuits = {
  admit: () => Promise.resolve({ kind: 'call' as const }),
  renew: () => Promise.resolve(),
  giveBack: () => Promise.resolve(),
};

export interface ExecutorHandle {
  workers: PullWorkers;
}

export function startExecutor(platform: Platform, process: Process): ExecutorHandle {
  const { world, code } = platform;
  const { jetstream, stores, logger } = linesOf(platform, process);
  const now = (): number => process.clock.now();
  const isConnected = (): boolean => process.isConnected;
  const metrics = silentExecutorMetrics;
  const time = { wallMs: now, monotonicMs: now };
  const leases = createLeaseKeeper({ time, isConnected, onLost: nothing });
  const settlement = createSettlement({
    spans: silentSpans,
    metrics,
    now,
    random: () => world.random.next(),
  });
  const { notices, connection, journal } = jetstream;
  const store = stores.executor;
  const stops = createStopRequests({ notices, connection, store, logger });
  const base = { executor: process.name, store, journal, leases, isConnected, logger, metrics, now };
  const intake = createIntake({ ...base, spans: silentSpans });
  const drive = createActivationDriver({ intake, stops, logger });
  const admission = createCallAdmission({
    circuits: { ...circuits, start: async () => {}, stop: nothing },
    settlement,
  });
  const registry = stores.registries;
  const workers = new PullWorkers({ process, world, settlement, metrics, code });
  const drivePull = createPullDriver({ registry, admission, settlement });
  const drivePush = createPushDriver({
    ...{ registry, admission, settlement, metrics, logs: noLogs },
    tenants: { signingKeys: () => Promise.resolve([]) },
    caller: pushCallerOf({ process, world, code }),
    deadlineMs: pushDeadlineMs,
  });
  stops.start();
  let held = 0;
  const take = (delivery: Delivery, done: Promise<void>): void => {
    held += 1;
    void done.finally(() => {
      held -= 1;
      push.wake();
      pull.wake();
    });
  };
  const capacity = (): number => slotsOfExecutor - held;
  const push = jetstream.consume(consumers.pushExecutor, {
    capacity,
    onDelivery: (delivery) => take(delivery, drive(delivery, drivePush)),
  });
  const filterSubject = subjects.pullActivationsOf(scope, { appId: appIds.pull });
  const { environmentId } = scope;
  const pull = jetstream.consume(
    pullConsumer({ environmentId, lane: { appId: appIds.pull }, filterSubject }),
    {
      capacity: () => (workers.haveRoom() ? capacity() : 0),
      onDelivery: (delivery) =>
        take(
          delivery,
          drive(delivery, (run) => drivePull(run, workers)),
        ),
    },
  );
  workers.onRoom = () => pull.wake();
  process.onDeath(() => {
    leases.stop();
    stops.stop();
    workers.loseAll();
  });
  return { workers };
}

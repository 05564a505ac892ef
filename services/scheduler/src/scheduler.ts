/**
 * The scheduler: decides what runs next. It starts runs for events, activates whatever has a reason to go on, and keeps
 * the timers. Its parts find each other here and nowhere else.
 */
import {
  createErasureStore,
  createKvBucketStore,
  createFlowStore,
  createRegistryReader,
  createRetentionMonths,
  createRetentionRows,
  createSchedulerStore,
  ensurePartitions,
  listRetention,
} from '@ironflow/database';
import type { Database, RegistryReader, SchedulerStore } from '@ironflow/database';
import { countReplicas, purgeEnvironment } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import type { ExecutorBacklog, Scope } from '@ironflow/schema';
import { systemClock } from '@ironflow/service';
import type { Clock, Logger, Metrics, SpanRecorder, Stoppable } from '@ironflow/service';
import { createActivator } from './activator.js';
import { createAdmission } from './admission.js';
import { createCancellations } from './cancellations.js';
import { createCircuitWaits } from './circuit-waits.js';
import { createConditions } from './condition.js';
import { createDeadLetters } from './dead-letters.js';
import { createDebounceView } from './debounce-view.js';
import { followEndedActivations } from './ended-activations.js';
import { createEventBacklog } from './event-backlog.js';
import type { EventBacklogOptions } from './event-backlog.js';
import { createEventConsumer } from './event-consumer.js';
import type { EventConsumerOptions } from './event-consumer.js';
import { createEventRouter } from './event-router.js';
import { createFloodGate } from './flood-gate.js';
import { createFlowControl } from './flow-control.js';
import type { FlowControl, FlowControlOptions } from './flow-control.js';
import { createSchedulerMetrics } from './metrics.js';
import { createPauseSpans } from './pause-spans.js';
import { createRoutingTurns } from './routing-turns.js';
import type { RoutingTurnsOptions } from './routing-turns.js';
import { createScheduledEvents } from './scheduled-events.js';
import { createStreamWatch } from './stream-watch.js';
import { createSweeps } from './sweeps.js';
import { createTimers } from './timers.js';
import type { Timers } from './timers.js';
import { createRetention } from './retention.js';
import type { RetentionOptions } from './retention.js';
import { createUpkeep } from './upkeep.js';
import { createErasure } from './erasure.js';
import { createWaits } from './waits.js';
import { createWorkerPresence } from './worker-presence.js';

export interface SchedulerOptions {
  jetstream: JetStream;
  /** As the role that works across environments. */
  database: Database;
  /** What Postgres does for it; the database's own by default. */
  store?: SchedulerStore;
  registries?: RegistryReader;
  logger: Logger;
  metrics: Metrics;
  spans: SpanRecorder;
  clock?: Clock;
  /** How often the sweeps look, and how old a thing has to be for them; default 5 s. */
  sweepIntervalMs?: number;
  /** How many events of one environment it has in hand. */
  eventShareMax?: number;
  /** For how long events and ended runs are kept at least; for ever without it. */
  retentionDays?: number;
}

export interface Scheduler extends Stoppable {
  start(): Promise<void>;
  /** Rejects when it is not known now. */
  executorBacklog(): Promise<ExecutorBacklog>;
}

/** More than consumer and backlog have in hand together. */
const routingQueuedMax = 5_000;

export function createScheduler(options: SchedulerOptions): Scheduler {
  const { jetstream, logger, metrics, clock = systemClock } = options;
  const parts = createParts(options);
  const streamWatch = createStreamWatch({
    ...{ states: jetstream.states, presence: parts.presence, metrics, clock },
    countExecutors: () => countReplicas(jetstream.connection, 'executor'),
  });
  const undo: (() => unknown)[] = [];

  return {
    executorBacklog: () => streamWatch.executorBacklog(),
    start: async () => {
      undo.push(() => parts.presence.stop());
      await parts.presence.start();
      undo.push(
        await jetstream.bucket('SYS_functions').watch((environmentId) => {
          parts.registries.invalidate(environmentId);
          // Limits and pauses hold for what is queued already.
          parts.flow.recheck(environmentId);
        }),
      );
      undo.push(parts.floodGate.start());
      undo.push(() => parts.flow.stop());
      undo.push(() => parts.debounceView.stop());
      parts.debounceView.start();
      undo.push(followEndedActivations({ ...parts, notices: jetstream.notices }));
      undo.push(() => parts.waits.stop());
      undo.push(() => parts.timers.stop());
      parts.timers.start();
      undo.push(() => parts.circuitWaits.stop());
      parts.circuitWaits.start();
      undo.push(() => parts.scheduledEvents.stop());
      parts.scheduledEvents.start();
      undo.push(() => parts.sweeps.stop());
      parts.sweeps.start();
      undo.push(() => parts.upkeep.stop());
      parts.upkeep.start();
      undo.push(() => parts.turns.stop());
      undo.push(() => parts.backlog.stop());
      undo.push(() => parts.consumer.stop());
      parts.consumer.start();
      logger.debug('the scheduler takes events');
    },
    stop: async () => {
      for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
      parts.activator.stop();
    },
  };
}

function createParts({
  jetstream,
  database,
  logger,
  spans,
  clock = systemClock,
  ...options
}: SchedulerOptions) {
  const { store = createSchedulerStore(database), registries = createRegistryReader(database) } = options;
  const metrics = createSchedulerMetrics(options.metrics);
  const { notices, publisher } = jetstream;
  const base = { store, metrics, logger, clock, notices, registries };
  const recordPauses = createPauseSpans(spans);
  const floodGate = createFloodGate({ ...base, states: jetstream.states });
  const activator = createActivator({ ...base, publisher, floodGate });
  const presence = createWorkerPresence({
    ...base,
    bucket: jetstream.bucket('SYS_workers'),
    onFirstWorker: (lane) => {
      void admission.release(lane);
      flow.recheck(lane.environmentId);
    },
  });
  const { flow, debounceView } = createFlow({
    ...base,
    ...{ jetstream, database, presence, activator },
    requestStop: (runIds) => cancellations.stop(runIds),
  });
  const admission = createAdmission({ ...base, activator, flow, presence, journal: jetstream.journal });
  const conditions = createConditions();
  const cancellations = createCancellations({ ...base, conditions, admission });
  const waits = createWaits({ ...base, conditions, admission, cancellations, recordPauses });
  const router = createEventRouter({
    ...base,
    floodGate,
    conditions,
    waits,
    presence,
    activator,
    admission,
    flow,
    arm: (dueInMs) => timers.arm(dueInMs),
    spans,
  });
  const deadLetters = createDeadLetters({ store, publisher });
  const { turns, backlog, consumer } = createIntake({ ...base, jetstream, router, deadLetters }, options);
  const timers: Timers = createTimers({
    ...base,
    recordPauses,
    // An activation that has just yielded may still hold the subject.
    onWoken: (runs) => void admission.admit(runs, { replacing: true }),
    onHeld: (runId) => void waits.look(runId),
  });
  const circuitWaits = createCircuitWaits({ ...base, timers });
  const scheduledEvents = createScheduledEvents({ ...base, router, notices: jetstream.notices });
  const { sweepIntervalMs } = options;
  const sweeps = createSweeps({
    ...base,
    router,
    admission,
    waits,
    flow,
    presence,
    ...(sweepIntervalMs === undefined ? {} : { intervalMs: sweepIntervalMs, olderThanMs: sweepIntervalMs }),
  });
  const upkeep = createUpkeep({
    ...base,
    ...createUpkeepParts({ jetstream, database, logger, metrics, days: options.retentionDays }),
  });
  metrics.watch({ store, activator, consumer, backlog });
  return {
    activator,
    admission,
    backlog,
    circuitWaits,
    consumer,
    debounceView,
    floodGate,
    flow,
    presence,
    registries,
    router,
    scheduledEvents,
    sweeps,
    timers,
    turns,
    upkeep,
    waits,
  };
}

function createUpkeepParts({
  jetstream,
  database,
  ...base
}: Pick<RetentionOptions, 'days' | 'logger' | 'metrics'> & Pick<SchedulerOptions, 'jetstream' | 'database'>) {
  const retention = createRetention({
    ...{ ...base, now: () => database.now(), environments: () => listRetention(database) },
    months: createRetentionMonths(database),
    rows: createRetentionRows(database),
  });
  const erasure = createErasureOf({ jetstream, database, logger: base.logger });
  return { ensurePartitions: () => ensurePartitions(database), retention, erasure };
}

function createErasureOf({
  jetstream,
  database,
  logger,
}: Pick<SchedulerOptions, 'jetstream' | 'database' | 'logger'>) {
  const buckets = createKvBucketStore(database);
  const purge = async (scope: Scope): Promise<void> => {
    const { environmentId } = scope;
    for (const { name } of await buckets.list(environmentId))
      await jetstream.userBuckets.remove({ environmentId, name });
    await purgeEnvironment(jetstream.connection, scope);
  };
  return createErasure({ store: createErasureStore(database), purge, logger });
}

type IntakeParts = Pick<EventConsumerOptions, 'jetstream' | 'deadLetters' | 'metrics' | 'logger' | 'clock'> &
  Pick<EventBacklogOptions, 'store'> &
  Pick<RoutingTurnsOptions, 'router'>;

/** The way of events, with what waits of them. */
function createIntake(
  { router, ...base }: IntakeParts,
  { eventShareMax: shareMax }: Pick<SchedulerOptions, 'eventShareMax'>,
) {
  const turns = createRoutingTurns({ router, queuedMax: routingQueuedMax });
  const backlog = createEventBacklog({ ...base, route: (event) => turns.route(event) });
  const consumer = createEventConsumer({
    ...{ ...base, turns, backlog },
    ...(shareMax === undefined ? {} : { shareMax }),
  });
  return { turns, backlog, consumer };
}

type FlowParts = Omit<FlowControlOptions, 'store' | 'debounceView'> &
  Pick<SchedulerOptions, 'jetstream' | 'database'>;

function createFlow({ jetstream, database, ...base }: FlowParts) {
  const store = createFlowStore(database);
  const bucket = jetstream.bucket('SYS_debounce_state');
  const { connection } = jetstream;
  const debounceView = createDebounceView({ store, bucket, connection, logger: base.logger });
  const flow: FlowControl = createFlowControl({ ...base, store, debounceView });
  return { flow, debounceView };
}

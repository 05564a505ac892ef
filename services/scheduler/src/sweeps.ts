/**
 * The slow, sure way: every few seconds one of the schedulers looks in Postgres for what the quick way has missed, after
 * a lost message, a wiped NATS or a process that died between a commit and its publish.
 *
 * S1 One scheduler at a time, by an advisory lock; who does not get it skips the round.
 * S2 Every pass is bounded and goes on where the last one stopped, so that what cannot be helped hides nothing.
 * S3 While NATS turns activations away, a pass ends: more of them would not fare better. So does one over a flood's runs of which
 *    none was lost: there may be tens of thousands that wait for their turn.
 */
import type { SchedulerStore } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import type { Admission } from './admission.js';
import type { EventRouter } from './event-router.js';
import type { FlowControl } from './flow-control.js';
import type { SchedulerMetrics } from './metrics.js';
import type { Waits } from './waits.js';
import type { WorkerPresence } from './worker-presence.js';

export interface SweepsOptions {
  store: Pick<SchedulerStore, 'unroutedEvents' | 'overdueRuns' | 'waitingForWorker' | 'withAdvisoryLock'>;
  router: EventRouter;
  admission: Admission;
  waits: Pick<Waits, 'sweep'>;
  flow: Pick<FlowControl, 'sweep'>;
  presence: Pick<WorkerPresence, 'isPresent' | 'prune'>;
  metrics: Pick<SchedulerMetrics, 'swept' | 'event'>;
  logger: Logger;
  clock: Clock;
  intervalMs?: number;
  /** What is younger is still on its ordinary way. */
  olderThanMs?: number;
}

export interface Sweeps {
  start(): void;
  runOnce(): Promise<void>;
  stop(): Promise<void>;
}

const defaultIntervalMs = 5_000;
/** Events are up to 512 KiB each, and a page of them is in memory at once. */
const eventsPageMax = 50;
const runsPageMax = 500;
/** Of each kind, at most so many in a round. */
const roundMax = 10_000;
const lockName = 'scheduler-sweep';

export function createSweeps(options: SweepsOptions): Sweeps {
  const { store, metrics, logger, clock, intervalMs = defaultIntervalMs } = options;
  const position: SweepPosition = { event: undefined, run: undefined, bulkRun: undefined };
  let timer: TimerHandle | undefined;
  let round: Promise<void> | undefined;
  let stopped = true;

  const sweepAll = async (): Promise<void> => {
    await sweepUnroutedEvents(options, position);
    await sweepOverdueRuns(options, position, 'run');
    await sweepOverdueRuns(options, position, 'bulkRun');
    await sweepWaitingForWorker(options);
    metrics.swept('queues', await options.flow.sweep());
    metrics.swept('waits', await options.waits.sweep(options.olderThanMs ?? defaultIntervalMs));
  };
  const runOnce = async (): Promise<void> => {
    options.presence.prune();
    try {
      await store.withAdvisoryLock(lockName, sweepAll);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'a sweep ended early; the next one follows');
    }
  };
  const schedule = (): void => {
    if (stopped) return;
    timer = clock.setTimeout(() => {
      round = runOnce().finally(schedule);
    }, intervalMs);
  };
  return {
    start: () => {
      stopped = false;
      schedule();
    },
    runOnce,
    stop: async () => {
      stopped = true;
      timer?.cancel();
      await round;
    },
  };
}

/** The last one seen of each kind; `undefined` begins anew. */
interface SweepPosition {
  event: { receivedAtMs: number; id: string } | undefined;
  run: { wokenAtMs: number; runId: string } | undefined;
  bulkRun: { wokenAtMs: number; runId: string } | undefined;
}

async function sweepUnroutedEvents(options: SweepsOptions, position: SweepPosition): Promise<void> {
  const { store, router, metrics, olderThanMs = defaultIntervalMs } = options;
  for (let seen = 0; seen < roundMax; seen += eventsPageMax) {
    const events = await store.unroutedEvents({ olderThanMs, after: position.event, limit: eventsPageMax });
    const last = events.length < eventsPageMax ? undefined : events[events.length - 1];
    const batch = await router.route(events);
    await router.announce(batch);
    const routed = [...batch.outcomes.values()].filter(({ kind }) => kind === 'routed').length;
    metrics.swept('unrouted_events', routed);
    metrics.event('routed', routed);
    position.event = last && { receivedAtMs: last.receivedAtMs, id: last.id };
    if (last === undefined) return;
  }
}

async function sweepOverdueRuns(
  options: SweepsOptions,
  position: SweepPosition,
  kind: 'run' | 'bulkRun',
): Promise<void> {
  const { store, admission, metrics, olderThanMs = defaultIntervalMs } = options;
  const isBulk = kind === 'bulkRun';
  for (let seen = 0; seen < roundMax; seen += runsPageMax) {
    const after = position[kind];
    const runs = await store.overdueRuns({ olderThanMs, isBulk, after, limit: runsPageMax });
    const last = runs.length < runsPageMax ? undefined : runs[runs.length - 1];
    const { stored, turnedAway } = await admission.admit(runs);
    // The others have their activation: it waits, or takes longer than a round.
    metrics.swept('overdue_runs', stored);
    if (turnedAway > 0) return;
    position[kind] = last && { wokenAtMs: last.wokenAtMs, runId: last.runId };
    if (last === undefined || (isBulk && stored === 0)) return;
  }
}

async function sweepWaitingForWorker({ store, admission, presence }: SweepsOptions): Promise<void> {
  for (const lane of await store.waitingForWorker()) {
    if (presence.isPresent(lane)) await admission.release(lane);
  }
}

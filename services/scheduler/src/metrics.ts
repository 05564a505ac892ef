/** What the scheduler counts. Labels are closed sets; series of hot paths are looked up once. */
import { monthReasons } from '@ironflow/database';
import type { MonthReason, SchedulerStore } from '@ironflow/database';
import type { PublishResult } from '@ironflow/jetstream';
import type { Metrics } from '@ironflow/service';

/** `let_go`: acknowledged without being routed, since its environment has its share in hand. */
export type EventOutcome = 'routed' | 'settled' | 'put_back' | 'unreadable' | 'let_go';
export type RunOutcome = 'queued' | 'waiting_for_worker' | 'skipped';
export type SweepKind =
  'unrouted_events' | 'overdue_runs' | 'released_runs' | 'circuit_waits' | 'waits' | 'queues';

export interface SchedulerMetrics {
  event(outcome: EventOutcome, count?: number): void;
  runCreated(outcome: RunOutcome): void;
  activationPublished(result: PublishResult['kind']): void;
  routingTook(seconds: number): void;
  staleRegistry(): void;
  timersFired(count: number): void;
  /** Of the earliest timer of a pass, the latest of them all. */
  timerLateness(seconds: number): void;
  /** The same of events that were to come later. */
  scheduledEventLateness(seconds: number): void;
  swept(kind: SweepKind, count: number): void;
  /** What one pass of flow control decided. */
  flow(decided: { admitted: readonly unknown[]; skipped: readonly unknown[] }): void;
  monthDropped(): void;
  /** Months beyond their retention that a pass has left, each with why. */
  monthsKept(reasons: readonly MonthReason[]): void;
  rowsRemoved(kind: 'runs' | 'events', count: number): void;
  watch(gauges: SchedulerGauges): void;
}

/** The parts that are asked at each scrape. */
export interface SchedulerGauges {
  activator: { pendingRetries: () => number };
  consumer: { inFlight: () => number };
  backlog: { size: () => number };
  store: Pick<SchedulerStore, 'nextDueInMs' | 'unroutedAgeMs'>;
}

/** Around the promise of 50 ms. */
const latenessBucketsSeconds = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];

export function createSchedulerMetrics(metrics: Metrics): SchedulerMetrics {
  const events = metrics.counter(
    'scheduler_events_total',
    'Events taken from the stream or a sweep, by outcome',
    ['outcome'],
  );
  const runs = metrics.counter(
    'scheduler_runs_created_total',
    'Runs created, by the status they began with',
    ['outcome'],
  );
  const publishes = metrics.counter('scheduler_activations_total', 'Activations published, by result', [
    'result',
  ]);
  const stale = metrics.counter(
    'scheduler_registry_stale_total',
    'Times events met a newer registry version',
  );
  const fired = metrics.counter('scheduler_timers_fired_total', 'Timers that fired');
  const swept = metrics.counter('scheduler_swept_total', 'What the sweeps found and brought on its way', [
    'kind',
  ]);
  const routing = metrics.histogram(
    'scheduler_routing_duration_seconds',
    'Matching and storing one batch of events',
  );
  const lateness = metrics.histogram(
    'scheduler_timer_lateness_seconds',
    'How late the earliest timer of a pass fired',
    latenessBucketsSeconds,
  );
  const decided = metrics.counter(
    'scheduler_flow_decisions_total',
    'Runs that flow control let go on or skipped',
    ['decision'],
  );
  const eventLateness = metrics.histogram(
    'scheduler_scheduled_event_lateness_seconds',
    'How late the earliest scheduled event of a pass was routed',
    latenessBucketsSeconds,
  );
  const retention = createRetentionMetrics(metrics);
  return {
    ...retention,
    event: (outcome, count = 1) => events.add(count, { outcome }),
    runCreated: (outcome) => runs.add(1, { outcome }),
    activationPublished: (result) => publishes.add(1, { result }),
    routingTook: (seconds) => routing.record(seconds),
    staleRegistry: () => stale.add(),
    timersFired: (count) => fired.add(count),
    timerLateness: (seconds) => lateness.record(seconds),
    scheduledEventLateness: (seconds) => eventLateness.record(seconds),
    swept: (kind, count) => swept.add(count, { kind }),
    flow: ({ admitted, skipped }) => {
      if (admitted.length > 0) decided.add(admitted.length, { decision: 'admitted' });
      if (skipped.length > 0) decided.add(skipped.length, { decision: 'skipped' });
    },
    watch: ({ activator, consumer, backlog, store }) => {
      const { pendingRetries: retries } = activator;
      const { inFlight } = consumer;
      metrics.gauge('scheduler_activation_retries', 'Runs whose activation is tried again', retries);
      metrics.gauge('scheduler_events_in_flight', 'Events delivered and not answered yet', inFlight);
      metrics.gauge(
        'scheduler_events_backlog',
        'Events of floods that wait in Postgres to be routed',
        backlog.size,
      );
      metrics.gauge(
        'timer_lag_seconds',
        'How overdue the earliest timer is, in Postgres',
        async () => Math.max(0, -((await store.nextDueInMs()) ?? 0)) / 1_000,
      );
      metrics.gauge(
        'unrouted_event_age_seconds',
        'How long the oldest event has waited that is stored and not routed',
        async () => (await store.unroutedAgeMs()) / 1_000,
      );
    },
  };
}

/** Of the last pass of this scheduler; another one may have made a later one. */
function createRetentionMetrics(
  metrics: Metrics,
): Pick<SchedulerMetrics, 'monthDropped' | 'monthsKept' | 'rowsRemoved'> {
  const dropped = metrics.counter(
    'scheduler_retention_months_dropped_total',
    'Months beyond their retention that were dropped',
  );
  const removed = metrics.counter(
    'scheduler_retention_rows_removed_total',
    'Runs and events beyond the retention of their environment that were removed by themselves',
    ['kind'],
  );
  let kept: readonly MonthReason[] = [];
  metrics.gauge(
    'scheduler_retention_months_kept',
    'Months beyond their retention that are kept for something in them, by what',
    () =>
      monthReasons.map((reason) => ({
        value: kept.filter((one) => one === reason).length,
        labels: { reason },
      })),
    ['reason'],
  );
  return {
    monthDropped: () => dropped.add(),
    monthsKept: (reasons) => void (kept = reasons),
    rowsRemoved: (kind, count) => {
      if (count > 0) removed.add(count, { kind });
    },
  };
}

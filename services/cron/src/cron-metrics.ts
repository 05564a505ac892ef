/** What the service counts. */
import type { Metrics } from '@ironflow/service';

export interface CronMetrics {
  /**
   * `fired` by this replica, `taken_over` from one that did not finish, seen to be fired `by_another`, or `withdrawn`: its
   * schedule was paused, changed or removed.
   */
  settled(how: 'fired' | 'taken_over' | 'by_another' | 'withdrawn'): void;
  givenUp(count: number): void;
  /** From the scheduled time, with its jitter, to the stream's acknowledgement. */
  late(lateMs: number): void;
}

const latenessBucketsSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

export function createCronMetrics(metrics: Metrics, schedules: () => number): CronMetrics {
  const settled = metrics.counter('cron_firings_total', 'Times of schedules that were settled, by how', [
    'how',
  ]);
  const givenUp = metrics.counter(
    'cron_firings_given_up_total',
    'Times that could not be fired within their catch-up window',
  );
  const lateness = metrics.histogram(
    'cron_lateness_seconds',
    'From the scheduled time to the acknowledgement of its event',
    latenessBucketsSeconds,
  );
  metrics.gauge('cron_schedules', 'Schedules that this replica knows', schedules);
  return {
    settled: (how) => settled.add(1, { how }),
    givenUp: (count) => givenUp.add(count),
    late: (lateMs) => lateness.record(Math.max(0, lateMs) / 1_000),
  };
}

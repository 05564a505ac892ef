/** What an executor counts. No run, event or tenant is a label. */
import { durationBucketsSeconds } from '@ironflow/service';
import type { Metrics } from '@ironflow/service';

export type ExecutorMetrics = ReturnType<typeof createExecutorMetrics>;

export function createExecutorMetrics(metrics: Metrics) {
  return {
    activations: metrics.counter('activations_total', 'Activations taken, by what was found of their run', [
      'readiness',
    ]),
    waitSeconds: metrics.histogram(
      'activation_wait_seconds',
      'From publishing an activation to its first delivery, by the lane that it took',
      durationBucketsSeconds,
      ['lane'],
    ),
    appends: metrics.counter('journal_appends_total', 'Journal appends, by result', ['result']),
    appendSeconds: metrics.histogram(
      'journal_append_seconds',
      'From sending an append to its acknowledgement',
      [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2],
    ),
    steps: metrics.counter('steps_total', 'Step attempts recorded, by status', ['status']),
    stepSeconds: metrics.histogram(
      'step_duration_seconds',
      'From the beginning of a step’s attempt to its end, by type and status',
      durationBucketsSeconds,
      ['type', 'status'],
    ),
    calls: metrics.counter('calls_total', 'Calls of functions, by mode and how they ended', [
      'mode',
      'result',
    ]),
    leasesLost: metrics.counter('leases_lost_total', 'Activations that were lost while being driven'),
    mismatches: metrics.counter(
      'mismatches_total',
      'Ends of calls that found the record of a run not to fit its code',
    ),
    logLines: metrics.counter('run_log_lines_total', 'Lines of runs’ loggers, by what became of them', [
      'result',
    ]),
    deferred: metrics.counter('activations_deferred_total', 'Activations put off without a call, by reason', [
      'reason',
    ]),
  };
}

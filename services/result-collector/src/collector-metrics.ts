/** What a collector counts. No run, event or tenant is a label. */
import { durationBucketsSeconds } from '@ironflow/service';
import type { Metrics } from '@ironflow/service';

export type CollectorMetrics = ReturnType<typeof createCollectorMetrics>;

/** Runs take milliseconds, or sleep for days. */
const lifeBucketsSeconds = [...durationBucketsSeconds, 300, 1_800, 3_600, 21_600, 86_400, 604_800];

export function createCollectorMetrics(metrics: Metrics) {
  return {
    messages: metrics.counter('results_total', 'Journal messages settled, by what became of them', [
      'outcome',
    ]),
    batchMessages: metrics.histogram(
      'result_batch_messages',
      'Journal messages in one batch',
      [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_000],
    ),
    batchSeconds: metrics.histogram('result_batch_seconds', 'From taking a batch to its acknowledgement'),
    deadLetters: metrics.counter('dead_letters_total', 'Messages that could not be processed, by reason', [
      'reason',
    ]),
    runsEnded: metrics.counter('runs_ended_total', 'Runs whose end was accepted, by outcome', ['outcome']),
    startDelaySeconds: metrics.histogram(
      'run_start_delay_seconds',
      'From the creation of a run that has ended to the first call of its function',
      lifeBucketsSeconds,
    ),
    runSeconds: metrics.histogram(
      'run_duration_seconds',
      'From the creation of a run to its end, by outcome',
      lifeBucketsSeconds,
      ['outcome'],
    ),
    retries: metrics.counter('result_batch_retries_total', 'Batches tried again, by reason', ['reason']),
    trimmed: metrics.counter('results_trimmed_total', 'Journal messages removed from the stream'),
  };
}

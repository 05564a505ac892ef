/**
 * How the driving of an activation is written down and ended; the same for push and pull. Records become durable first;
 * only then is the caller told, the memo carried on, and the message acknowledged.
 */
import type { CallOutcome, JournalEntry, Outcome, StepRecord } from '@ironflow/schema';
import type { RetryPolicy } from '@ironflow/retry-policy';
import type { SpanRecorder } from '@ironflow/service';
import { remember } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import { recordActivationSpan, recordStepSpans } from './call-spans.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import { callFailedEntry, endingEntry, stepEntries, tooLargeEntry } from './outcome.js';
import type { CallFailure } from './outcome.js';

export interface SettlementOptions {
  spans: SpanRecorder;
  metrics: ExecutorMetrics;
  now: () => number;
  random: () => number;
}

export type Settled =
  /** It is durable, and the activation is still ours. */
  | 'settled'
  /** Stop and send nothing more: the activation has ended or is somebody else's. */
  | 'over'
  /** An older writer was there: read the run again and go on from there. */
  | 'restart';

export interface Settlement {
  /** Makes steps durable. */
  record(run: ActiveRun, records: StepRecord[]): Promise<Settled>;
  /** Makes the last steps and the end durable, in one append, and acknowledges the activation. */
  end(
    run: ActiveRun,
    records: StepRecord[],
    outcome: Exclude<Outcome, { kind: 'continue' }>,
    call: CallOutcome,
  ): Promise<Settled>;
  endFailedCall(
    run: ActiveRun,
    failure: CallFailure,
    call: CallOutcome | undefined,
    policy: RetryPolicy,
  ): Promise<Settled>;
  /** The breaker lets no call through: the run waits, and no attempt is used. */
  defer(run: ActiveRun, inMs: number): Promise<Settled>;
}

export function createSettlement(options: SettlementOptions): Settlement {
  const { spans, metrics } = options;
  const noteRecorded = (run: ActiveRun, records: StepRecord[]): void => {
    remember(run, records);
    recordStepSpans(spans, run, records);
    for (const { status } of records) metrics.steps.add(1, { status });
  };
  const finish = async (run: ActiveRun, entries: JournalEntry[], records: StepRecord[]): Promise<Settled> => {
    const result = await run.journal.append(entries);
    if (result === 'too_large') return finish(run, [tooLargeEntry(entries, run.wake)], []);
    if (result !== 'appended') return result === 'restart' ? 'restart' : 'over';
    run.lease.finish();
    noteRecorded(run, records);
    const last = entries.at(-1);
    if (last?.type !== 'run') return 'over';
    const failure =
      'error' in last.run ? last.run.error : 'retry' in last.run ? last.run.retry?.error : undefined;
    recordActivationSpan(spans, run, {
      outcome: last.run.kind,
      atMs: options.now(),
      ...(failure === undefined ? {} : { error: failure.name }),
    });
    return 'over';
  };
  return {
    record: async (run, records) => {
      const entries = stepEntries(records);
      const result = await run.journal.append(entries);
      if (result === 'too_large') return finish(run, [tooLargeEntry(entries, run.wake)], []);
      if (result !== 'appended') return result === 'restart' ? 'restart' : 'over';
      noteRecorded(run, records);
      // The acknowledgement may have waited in a process that was stopped: what follows it is another's to do.
      return run.lease.isHeld() ? 'settled' : 'over';
    },
    end: (run, records, outcome, call) => {
      // Steps that come with the end are progress: failures before them do not count against it.
      const failures = records.length > 0 ? 0 : run.failures;
      const ending = endingEntry(outcome, { wake: run.wake, failures, call });
      return finish(run, [...stepEntries(records), ending], records);
    },
    endFailedCall: (run, failure, call, policy) => {
      const context = { wake: run.wake, failures: run.failures, call };
      return finish(run, [callFailedEntry(failure, context, policy, options.random())], []);
    },
    defer: (run, inMs) => {
      metrics.deferred.add(1);
      const entry: JournalEntry = {
        type: 'run',
        run: { kind: 'deferred', served: run.wake, inMs: Math.ceil(inMs), reason: 'circuit_open' },
      };
      return finish(run, [entry], []);
    },
  };
}

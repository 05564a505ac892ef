/**
 * How the driving of an activation is written down and ended; the same for push and pull. Records become durable first;
 * only then is the caller told, the memo carried on, and the message acknowledged.
 */
import { isProgress, limits } from '@ironflow/schema';
import type { CallOutcome, Failure, JournalEntry, StepRecord } from '@ironflow/schema';
import type { RetryPolicy } from '@ironflow/retry-policy';
import type { SpanRecorder } from '@ironflow/service';
import { remember } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import { recordActivationSpan, recordStepSpans } from './call-spans.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import { callFailedEntry, endingEntry, memoTooLarge, stepEntries } from './outcome.js';
import { outputRefused, outputTooLarge } from './outcome.js';
import type { CallEnd, CallFailure } from './outcome.js';
import { memoGrowth } from './run-position.js';

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
  /** To be awaited before the function is called: a call that takes the executor down leaves its mark. */
  markCall(run: ActiveRun): Promise<Settled>;
  /** Makes steps durable. */
  record(run: ActiveRun, records: StepRecord[]): Promise<Settled>;
  /** Makes the last steps and the end durable, in one append, and acknowledges the activation. */
  end(run: ActiveRun, records: StepRecord[], outcome: CallEnd, call: CallOutcome): Promise<Settled>;
  endFailedCall(
    run: ActiveRun,
    failure: CallFailure,
    call: CallOutcome | undefined,
    policy: RetryPolicy,
  ): Promise<Settled>;
  /** The function was not called: the run waits, and no attempt is used. */
  defer(run: ActiveRun, why: { inMs: number; reason: string }): Promise<Settled>;
  /** The run can go no further, whatever the function does. */
  fail(run: ActiveRun, error: Failure): Promise<Settled>;
  /** As it was asked to; nothing of the function runs any more, or what does is no longer heard. */
  cancel(run: ActiveRun): Promise<Settled>;
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
    if (result === 'too_large') return fail(run, outputTooLarge(entries));
    if (result === 'refused') return fail(run, outputRefused(entries));
    if (result !== 'appended') return result === 'restart' ? 'restart' : 'over';
    run.lease.finish();
    noteRecorded(run, records);
    const last = entries.at(-1);
    if (last?.type !== 'run') return 'over';
    if ('mismatch' in last.run && last.run.mismatch !== undefined) metrics.mismatches.add(1);
    run.callReported = 'call' in last.run && last.run.call !== undefined;
    const failure =
      'error' in last.run ? last.run.error : 'retry' in last.run ? last.run.retry?.error : undefined;
    recordActivationSpan(spans, run, {
      outcome: last.run.kind,
      atMs: options.now(),
      ...(failure === undefined ? {} : { error: failure.name }),
    });
    return 'over';
  };
  const fail = (run: ActiveRun, error: Failure): Promise<Settled> =>
    finish(run, [{ type: 'run', run: { kind: 'failed', served: run.wake, error } }], []);
  return {
    fail,
    cancel: (run) => finish(run, [{ type: 'run', run: { kind: 'cancelled', served: run.wake } }], []),
    markCall: async (run) => {
      if (run.unrecordedCalls === undefined) return 'settled';
      const calls = run.unrecordedCalls + 1;
      const result = await run.journal.append([{ type: 'run', run: { kind: 'started', calls } }]);
      if (result === 'restart') return 'restart';
      return result === 'appended' && run.lease.isHeld() ? 'settled' : 'over';
    },
    record: async (run, records) => {
      if (!fitsMemo(run, records)) return fail(run, memoTooLarge());
      const entries = stepEntries(records);
      const result = await run.journal.append(entries);
      if (result === 'too_large') return fail(run, outputTooLarge(entries));
      if (result === 'refused') return fail(run, outputRefused(entries));
      if (result !== 'appended') return result === 'restart' ? 'restart' : 'over';
      noteRecorded(run, records);
      // The acknowledgement may have waited in a process that was stopped: what follows it is another's to do.
      return run.lease.isHeld() ? 'settled' : 'over';
    },
    end: async (run, records, outcome, call) => {
      if (!fitsMemo(run, records)) return fail(run, memoTooLarge());
      // Progress that comes with the end: failures before it do not count against it.
      const failures = records.some(isProgress) ? 0 : run.failures;
      const ending = endingEntry(outcome, { wake: run.wake, failures, call });
      return finish(run, [...stepEntries(records), ending], records);
    },
    endFailedCall: (run, failure, call, policy) => {
      const context = { wake: run.wake, failures: run.failures, call };
      return finish(run, [callFailedEntry(failure, context, policy, options.random())], []);
    },
    defer: (run, { inMs, reason }) => {
      metrics.deferred.add(1, { reason });
      const entry: JournalEntry = {
        type: 'run',
        run: { kind: 'deferred', served: run.wake, inMs: Math.ceil(inMs), reason },
      };
      return finish(run, [entry], []);
    },
  };
}

/** Counts records before they are written: those that come meanwhile must not pass beside the limit. */
function fitsMemo(run: ActiveRun, records: StepRecord[]): boolean {
  run.memoBytes += memoGrowth(run.memo, records);
  return run.memoBytes <= limits.runMemoBytesMax;
}

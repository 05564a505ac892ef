/**
 * How the driving of an activation is written down and ended; the same for push and pull. Records become durable first;
 * only then is the caller told, the memo carried on, and the message acknowledged.
 */
import { isProgress, limits, startDeadline } from '@ironflow/schema';
import type { CallOutcome, Failure, JournalEntry, StepRecord } from '@ironflow/schema';
import type { RetryPolicy } from '@ironflow/retry-policy';
import type { SpanRecorder } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import {
  callFailedEntry,
  endingEntry,
  functionTimedOut,
  memoTooLarge,
  tooManySteps,
  unwritable,
  stepEntries,
} from './outcome.js';
import type { CallEnd, CallFailure } from './outcome.js';
import { createRunEnds } from './run-end.js';
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
  /** An older writer was there, or the run is stopping now: read it again and go on from there. */
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
  /** It is too late for the run to begin. */
  skip(run: ActiveRun): Promise<Settled>;
  /** The run can go no further, whatever the function does. */
  fail(run: ActiveRun, error: Failure): Promise<Settled>;
  /** As it was asked to; what may still run of the function is no longer heard, and ends within the time that is given. */
  stop(run: ActiveRun, callEndsInMs?: number): Promise<Settled>;
}

export function createSettlement(options: SettlementOptions): Settlement {
  const { metrics } = options;
  const { noteRecorded, finish, stopAs, fail } = createRunEnds(options);
  const activityOf = (run: ActiveRun): number | undefined =>
    run.stopping === undefined ? Math.max(0, options.now() - run.activatedAtMs) : undefined;
  return {
    fail,
    stop: (run, callEndsInMs = 0) =>
      stopAs(
        run,
        run.stop.reason === 'timed_out'
          ? { kind: 'failed', error: functionTimedOut() }
          : { kind: 'cancelled' },
        { callEndsInMs },
      ),
    markCall: async (run) => {
      if (run.unrecordedCalls === undefined) return 'settled';
      const calls = run.unrecordedCalls + 1;
      const result = await run.journal.append([{ type: 'run', run: { kind: 'started', calls } }]);
      if (result === 'restart') return 'restart';
      return result === 'appended' && run.lease.isHeld() ? 'settled' : 'over';
    },
    record: async (run, records) => {
      const excess = excessOf(run, records);
      if (excess !== undefined) return fail(run, excess, records);
      run.hasRegistered ||= records.some(({ status }) => status === 'registered');
      const entries = stepEntries(records);
      const result = await run.journal.append(entries);
      const refused = unwritable(result, entries);
      if (refused !== undefined) return fail(run, refused, records);
      if (result !== 'appended') return result === 'restart' ? 'restart' : 'over';
      noteRecorded(run, records);
      // The acknowledgement may have waited in a process that was stopped: what follows it is another's to do.
      return run.lease.isHeld() ? 'settled' : 'over';
    },
    end: async (run, records, outcome, call) => {
      const excess = excessOf(run, records);
      if (excess !== undefined) return fail(run, excess, records);
      if (outcome.kind === 'stopped') return stopAs(run, run.stopping!, { records, call });
      if (outcome.kind === 'threw' && outcome.retryInMs === undefined) {
        const { error, mismatch } = outcome;
        return stopAs(run, { kind: 'failed', error }, { records, call, mismatch });
      }
      // Progress that comes with the end: failures before it do not count against it.
      const failures = records.some(isProgress) ? 0 : run.failures;
      const context = { wake: run.wake, failures, activeMs: activityOf(run), call };
      const ending = endingEntry(outcome, context);
      return finish(run, [...stepEntries(records), ending], records);
    },
    endFailedCall: (run, failure, call, policy) => {
      const context = { wake: run.wake, failures: run.failures, activeMs: activityOf(run), call };
      const retry = callFailedEntry(failure, context, policy, options.random());
      if (retry !== undefined) return finish(run, [retry], []);
      const { error, notBeforeMs: callEndsInMs = 0 } = failure;
      return stopAs(run, { kind: 'failed', error }, { call, callEndsInMs, why: error });
    },
    skip: (run) => {
      const skipped = { kind: 'skipped', served: run.wake, reason: startDeadline } as const;
      return finish(run, [{ type: 'run', run: skipped }], []);
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

/** Which limit of a run its records go beyond. Counts their bytes before they are written: those that come meanwhile must not pass beside it. */
function excessOf(run: ActiveRun, records: StepRecord[]): Failure | undefined {
  run.memoBytes += memoGrowth(run.memo, records);
  if (run.memoBytes > limits.runMemoBytesMax && run.stopping === undefined) return memoTooLarge();
  return hasTooManySteps(run, records) ? tooManySteps() : undefined;
}

function hasTooManySteps({ memo }: ActiveRun, records: StepRecord[]): boolean {
  if (memo.size + records.length <= limits.stepsPerRunMax) return false;
  const added = new Set(records.map(({ id }) => id).filter((id) => !memo.has(id)));
  return added.size > 0 && memo.size + added.size > limits.stepsPerRunMax;
}

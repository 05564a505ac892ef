/**
 * How activations and runs are brought to their ends. A run that fails or is cancelled with something to undo is stopping
 * first, and is read again for that.
 */
import type { CallOutcome, Failure, JournalEntry, Mismatch, StepRecord, StopOutcome } from '@ironflow/schema';
import { remember } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import { recordActivationSpan, recordStepSpans } from './call-spans.js';
import {
  notCompensatedOf,
  notRegistered,
  stepEntries,
  stopEntry,
  stoppingEntry,
  unwritable,
  withoutList,
} from './outcome.js';
import { isCompensation, memoize } from './run-position.js';
import type { Settled, SettlementOptions } from './settlement.js';

/** How a run comes to its end as failed or cancelled. */
interface Stop {
  /** The last ones, to be recorded with it. */
  records?: StepRecord[];
  call?: CallOutcome | undefined;
  /** What of the run's record does not fit the code. */
  mismatch?: Mismatch | undefined;
  /** Nothing is undone before, since the call that it was lost in may run for so long. */
  callEndsInMs?: number;
  /** Why what was not tried to be undone was not. */
  why?: Failure;
}

export interface RunEnds {
  /** They are durable: the next call knows them. */
  noteRecorded: (run: ActiveRun, records: StepRecord[]) => void;
  /** The entries end the activation; the records are among them. */
  finish: (run: ActiveRun, entries: JournalEntry[], records: StepRecord[]) => Promise<Settled>;
  stopAs: (run: ActiveRun, outcome: StopOutcome, stop: Stop) => Promise<Settled>;
  /** Of records that cannot be kept, at least what they register is. */
  fail: (run: ActiveRun, error: Failure, records?: StepRecord[]) => Promise<Settled>;
}

const unwritableDelayMs = 5_000;

export function createRunEnds(options: Pick<SettlementOptions, 'spans' | 'metrics' | 'now'>): RunEnds {
  const { spans, metrics } = options;
  const noteRecorded = (run: ActiveRun, records: StepRecord[]): void => {
    remember(run, records);
    recordStepSpans(spans, run, records);
    for (const record of records) countStep(metrics, record);
  };
  const finish = async (run: ActiveRun, entries: JournalEntry[], records: StepRecord[]): Promise<Settled> => {
    const result = await run.journal.append(entries);
    const refused = unwritable(result, entries);
    if (refused !== undefined) return endOtherwise(run, entries, records, refused);
    if (result !== 'appended') return result === 'restart' ? 'restart' : 'over';
    run.lease.finish();
    noteRecorded(run, records);
    const last = entries.at(-1);
    if (last?.type !== 'run') return 'over';
    if ('mismatch' in last.run && last.run.mismatch !== undefined) metrics.mismatches.add(1);
    run.callReported = entries.some(reportsCall);
    const failure =
      'error' in last.run ? last.run.error : 'retry' in last.run ? last.run.retry?.error : undefined;
    recordActivationSpan(spans, run, {
      outcome: last.run.kind,
      atMs: options.now(),
      ...(failure === undefined ? {} : { error: failure.name }),
    });
    return 'over';
  };
  /** Once without its list; of a run that is stopping nothing else can be too large for a server that takes what others do. */
  const endOtherwise = async (
    run: ActiveRun,
    entries: JournalEntry[],
    records: StepRecord[],
    refused: Failure,
  ): Promise<Settled> => {
    const unlisted = withoutList(entries);
    if (unlisted !== undefined) return finish(run, unlisted, records);
    if (run.stopping === undefined) return fail(run, refused, records);
    run.lease.handBack(unwritableDelayMs);
    return 'over';
  };
  /** At once, unless there is something to undo: then the run is stopping, and is read again for that. */
  const stopAs = async (run: ActiveRun, outcome: StopOutcome, stop: Stop): Promise<Settled> => {
    const { records = [], call, mismatch, callEndsInMs = 0, why = notRegistered } = stop;
    const memo = [...run.memo.values(), ...records.map(memoize)];
    // What is registered just now comes before this in the journal, and will be read from there.
    const hasToUndo = run.hasRegistered || memo.some(isCompensation);
    if (run.stopping !== undefined || !hasToUndo) {
      const last = new Map(memo.map((step) => [step.id, step]));
      const notCompensated = notCompensatedOf(last.values(), why);
      const context = { wake: run.wake, call, mismatch, notCompensated, callEndsInMs };
      const ending = stopEntry(run.stopping ?? outcome, context);
      return finish(run, [...stepEntries(records), ending], records);
    }
    const entries = [...stepEntries(records), stoppingEntry(outcome, { call, mismatch })];
    if (callEndsInMs > 0) {
      const inMs = Math.ceil(callEndsInMs);
      const wait = { served: run.wake, inMs, reason: 'call_may_run', callEndsInMs: inMs };
      return finish(run, [...entries, { type: 'run', run: { kind: 'deferred', ...wait } }], records);
    }
    const result = await run.journal.append(entries);
    const refused = unwritable(result, entries);
    if (refused !== undefined) return fail(run, refused, records);
    if (result !== 'appended') return result === 'restart' ? 'restart' : 'over';
    noteRecorded(run, records);
    if (mismatch !== undefined) metrics.mismatches.add(1);
    run.callReported = call !== undefined;
    return run.lease.isHeld() ? 'restart' : 'over';
  };
  const fail = (run: ActiveRun, error: Failure, records: StepRecord[] = []): Promise<Settled> =>
    stopAs(
      run,
      { kind: 'failed', error },
      { records: records.filter(({ status }) => status === 'registered'), why: error },
    );
  return { noteRecorded, finish, stopAs, fail };
}

function countStep({ steps, stepSeconds }: SettlementOptions['metrics'], record: StepRecord): void {
  const { type, status } = record;
  steps.add(1, { status });
  if (!('endedAtMs' in record)) return;
  stepSeconds.record(Math.max(0, record.endedAtMs - record.startedAtMs) / 1_000, { type, status });
}

function reportsCall(entry: JournalEntry): boolean {
  return entry.type === 'run' && 'call' in entry.run && entry.run.call !== undefined;
}

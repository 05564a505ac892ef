/** What the end of a call means for the journal. Pure: an outcome, the run's position and the retry policy in, entries out. */
import { decideRetry } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { limits } from '@ironflow/schema';
import type {
  CallOutcome,
  Failure,
  JournalEntry,
  MemoizedStep,
  Mismatch,
  NotCompensated,
  Outcome,
  StepRecord,
  StopOutcome,
} from '@ironflow/schema';
import { isCompensation } from './run-position.js';

export interface CallContext {
  /** `runs.wake` as it was read before the call. */
  wake: number;
  /** Failed calls without progress before this one. */
  failures: number;
  /** What this activation took of the function's time; absent where that is not counted. */
  activeMs?: number | undefined;
  /** Absent when it has been told already: a lost worker is one failure, however many runs it had. */
  call: CallOutcome | undefined;
  /** It was lost, and may go on for so long. */
  callEndsInMs?: number | undefined;
}

/** A function that could not be called, or was lost in mid-call. */
export interface CallFailure {
  error: Failure;
  /** No retry comes sooner: the lost call may still be running until its deadline. */
  notBeforeMs?: number;
  /** The failure says nothing about the function: its first retry follows at once. */
  retryAtOnce?: boolean;
}

export function stepEntries(records: StepRecord[]): JournalEntry[] {
  return records.map((step) => ({ type: 'step', step: isCompensation(step) ? withoutOutput(step) : step }));
}

/** No replay is given what an undoing returned, and nothing bounds it: an SDK that still sends it is not heard. */
function withoutOutput(step: StepRecord): StepRecord {
  return 'output' in step ? { ...step, output: undefined } : step;
}

/** How a call ends in which the function was driven as far as it goes. */
export type CallEnd = Exclude<Outcome, { kind: 'continue' | 'declined' }>;

/** What is wrong with such an end of a call, if anything: a run that is stopping does nothing else, and no other stops. */
export function misfitOf(outcome: Outcome, stopping: StopOutcome | undefined): Failure | undefined {
  if (stopping === undefined) {
    return outcome.kind === 'stopped' ? badAnswer('the run is not stopping') : undefined;
  }
  if (outcome.kind === 'threw') return outcome.error;
  return outcome.kind === 'completed' ? badAnswer('the run is stopping and cannot complete') : undefined;
}

export function badAnswer(message: string): Failure {
  return { name: 'bad_answer', message };
}

/** The entry that ends an activation; one that fails or stops the run is `stopEntry`. */
export function endingEntry(
  outcome: Exclude<CallEnd, { kind: 'stopped' }>,
  context: CallContext,
): JournalEntry {
  const ending = { ...endingOf(context), ...mismatchOf(outcome.mismatch) };
  const worked = activityOf(context);
  switch (outcome.kind) {
    case 'yielded':
      return { type: 'run', run: { kind: 'yielded', ...ending, ...worked } };
    case 'completed':
      return {
        type: 'run',
        run: {
          kind: 'completed',
          ...ending,
          ...(outcome.output === undefined ? {} : { output: outcome.output }),
        },
      };
    case 'threw': {
      const { retryInMs: inMs = 0, error } = outcome;
      const retry = { attempt: context.failures + 1, inMs, error };
      return { type: 'run', run: { kind: 'yielded', ...ending, ...worked, retry } };
    }
  }
}

function endingOf({ wake, call, callEndsInMs = 0 }: Pick<CallContext, 'wake' | 'call' | 'callEndsInMs'>) {
  return {
    served: wake,
    ...(call === undefined ? {} : { call }),
    ...(callEndsInMs > 0 ? { callEndsInMs: Math.ceil(callEndsInMs) } : {}),
  };
}

function activityOf({ activeMs }: CallContext) {
  return activeMs === undefined ? {} : { activeMs };
}

function mismatchOf(mismatch: Mismatch | undefined) {
  return mismatch === undefined ? {} : { mismatch };
}

/** The entry by which a run begins to stop. */
export function stoppingEntry(
  outcome: StopOutcome,
  { call, mismatch }: { call: CallOutcome | undefined; mismatch: Mismatch | undefined },
): JournalEntry {
  const reported = call === undefined ? {} : { call };
  return { type: 'run', run: { kind: 'stopping', outcome, ...reported, ...mismatchOf(mismatch) } };
}

/** The end of a run that failed or was cancelled. */
export function stopEntry(
  outcome: StopOutcome,
  context: Pick<CallContext, 'wake' | 'call' | 'callEndsInMs'> & {
    mismatch: Mismatch | undefined;
    notCompensated: NotCompensated[];
  },
): JournalEntry {
  const { mismatch, notCompensated } = context;
  const left = notCompensated.length === 0 ? {} : { notCompensated };
  return { type: 'run', run: { ...outcome, ...endingOf(context), ...mismatchOf(mismatch), ...left } };
}

/** What a run that has stopped had registered and could not undo: what each failed with, or why it was not tried. */
export function notCompensatedOf(memo: Iterable<MemoizedStep>, why: Failure): NotCompensated[] {
  const left = [...memo].filter(({ type, status }) => type === 'compensate' && status !== 'completed');
  // All of them go into one message; the steps have their errors whole.
  const messageLengthMax = Math.min(1_024, Math.floor(listedLengthMax / left.length));
  const listed: NotCompensated[] = [];
  let bytes = 0;
  for (const { id, error } of left) {
    const { name, message } = error ?? why;
    const item = {
      step: id,
      error: { name: name.slice(0, 64), message: message.slice(0, messageLengthMax) },
    };
    bytes += Buffer.byteLength(JSON.stringify(item)) + 1;
    if (bytes > listedBytesMax) return [...listed, theRest(id, left.length - listed.length)];
    listed.push(item);
  }
  return listed;
}

const listedLengthMax = 100_000;
export const listedBytesMax = 500_000;

function theRest(step: string, count: number): NotCompensated {
  const message = `the list ends here: of ${count} compensations, with this one, only the steps say that they are not done`;
  return { step, error: { name: 'list_too_long', message } };
}

/** The entries without what a run lists as not undone; `undefined` if they list nothing. */
export function withoutList(entries: JournalEntry[]): JournalEntry[] | undefined {
  const last = entries.at(-1);
  if (last?.type !== 'run' || !('notCompensated' in last.run)) return undefined;
  const { notCompensated, ...run } = last.run;
  return notCompensated === undefined ? undefined : [...entries.slice(0, -1), { type: 'run', run }];
}

export const notRegistered: Failure = {
  name: 'not_run',
  message: 'the function did not register it again when it was called to undo it',
};

/** `undefined` when there is none left. */
export function callFailedEntry(
  failure: CallFailure,
  context: CallContext,
  policy: RetryPolicy,
  random: number,
): JournalEntry | undefined {
  const ending = endingOf({ ...context, callEndsInMs: failure.notBeforeMs });
  const attempt = context.failures + 1;
  const retryAfterMs = failure.retryAtOnce === true && attempt === 1 ? 0 : undefined;
  const decision = decideRetry(policy, { attempt, retryable: true, retryAfterMs }, random);
  if (!decision.retry) return undefined;
  const inMs = Math.max(decision.delayMs, failure.notBeforeMs ?? 0);
  return {
    type: 'run',
    run: {
      kind: 'call_failed',
      ...ending,
      ...activityOf(context),
      retry: { attempt, inMs, error: failure.error },
    },
  };
}

/** What entries that cannot be written make of the run, if that is so: nothing would be different the next time. */
export function unwritable(result: string, entries: JournalEntry[]): Failure | undefined {
  if (result === 'too_large') return outputTooLarge(entries);
  return result === 'refused' ? outputRefused(entries) : undefined;
}

function outputTooLarge(entries: JournalEntry[]): Failure {
  const message =
    `what ${ownerOfLargest(entries)} returned is too large to be recorded: the platform's NATS server takes no message that ` +
    'holds it';
  return { name: 'output_too_large', message };
}

/** Of large outputs, the only ones that Postgres is given before their entry. */
function outputRefused(entries: JournalEntry[]): Failure {
  const message =
    `what ${ownerOfLargest(entries)} returned cannot be stored: an output is JSON, and no more lists and objects within one ` +
    'another than PostgreSQL reads';
  return { name: 'output_refused', message };
}

function ownerOfLargest(entries: JournalEntry[]): string {
  const largest = entries.reduce((a, b) => (outputLength(b) > outputLength(a) ? b : a));
  return largest.type === 'step' ? `the step "${largest.step.name}"` : 'the run';
}

export function memoTooLarge(): Failure {
  const message =
    `the steps of this run returned more than ${limits.runMemoBytesMax} bytes, which is the limit of one run: ` +
    'every replay has to be given all of it';
  return { name: 'memo_too_large', message };
}

export function tooManySteps(): Failure {
  const message =
    `the run has more than ${limits.stepsPerRunMax} steps, which is the limit of one run: let it do less, for example by ` +
    'invoking other functions';
  return { name: 'too_many_steps', message };
}

export function functionTimedOut(): Failure {
  const message = 'the function was at work for longer than its timeout allows; what waits does not count';
  return { name: 'FunctionTimeout', message };
}

export function deliveryExhausted(calls: number): Failure {
  const message = `the function was called ${calls} times, and each time its executor was lost before anything was recorded`;
  return { name: 'delivery_exhausted', message };
}

function outputLength(entry: JournalEntry): number {
  const ended = entry.type === 'step' ? entry.step : entry.run;
  return 'output' in ended ? (ended.output?.length ?? 0) : 0;
}

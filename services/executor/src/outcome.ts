/** What the end of a call means for the journal. Pure: an outcome, the run's position and the retry policy in, entries out. */
import { decideRetry } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { limits } from '@ironflow/schema';
import type { CallOutcome, Failure, JournalEntry, Outcome, StepRecord } from '@ironflow/schema';

export interface CallContext {
  /** `runs.wake` as it was read before the call. */
  wake: number;
  /** Failed calls without progress before this one. */
  failures: number;
  /** Absent when it has been told already: a lost worker is one failure, however many runs it had. */
  call: CallOutcome | undefined;
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
  return records.map((step) => ({ type: 'step', step }));
}

/** How a call ends in which the function was driven as far as it goes. */
export type CallEnd = Exclude<Outcome, { kind: 'continue' | 'declined' }>;

/** The entry that ends an activation. */
export function endingEntry(outcome: CallEnd, context: CallContext): JournalEntry {
  const ending = {
    ...endingOf(context),
    ...(outcome.mismatch === undefined ? {} : { mismatch: outcome.mismatch }),
  };
  switch (outcome.kind) {
    case 'yielded':
      return { type: 'run', run: { kind: 'yielded', ...ending } };
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
      if (outcome.retryInMs === undefined) {
        return { type: 'run', run: { kind: 'failed', ...ending, error: outcome.error } };
      }
      const retry = { attempt: context.failures + 1, inMs: outcome.retryInMs, error: outcome.error };
      return { type: 'run', run: { kind: 'yielded', ...ending, retry } };
    }
  }
}

function endingOf({ wake, call }: CallContext) {
  return { served: wake, ...(call === undefined ? {} : { call }) };
}

export function callFailedEntry(
  failure: CallFailure,
  context: CallContext,
  policy: RetryPolicy,
  random: number,
): JournalEntry {
  const ending = endingOf(context);
  const attempt = context.failures + 1;
  const retryAfterMs = failure.retryAtOnce === true && attempt === 1 ? 0 : undefined;
  const decision = decideRetry(policy, { attempt, retryable: true, retryAfterMs }, random);
  if (!decision.retry) return { type: 'run', run: { kind: 'failed', ...ending, error: failure.error } };
  const inMs = Math.max(decision.delayMs, failure.notBeforeMs ?? 0);
  return {
    type: 'run',
    run: { kind: 'call_failed', ...ending, retry: { attempt, inMs, error: failure.error } },
  };
}

/** What entries that do not fit into a message make of the run: nothing would be different the next time. */
export function outputTooLarge(entries: JournalEntry[]): Failure {
  const message =
    `what ${ownerOfLargest(entries)} returned is too large to be recorded: the platform's NATS server takes no message that ` +
    'holds it';
  return { name: 'output_too_large', message };
}

/** Of large outputs, the only ones that Postgres is given before their entry. */
export function outputRefused(entries: JournalEntry[]): Failure {
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

export function deliveryExhausted(calls: number): Failure {
  const message = `the function was called ${calls} times, and each time its executor was lost before anything was recorded`;
  return { name: 'delivery_exhausted', message };
}

function outputLength(entry: JournalEntry): number {
  const ended = entry.type === 'step' ? entry.step : entry.run;
  return 'output' in ended ? (ended.output?.length ?? 0) : 0;
}

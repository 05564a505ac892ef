/**
 * A run's journal as one activation appends to it: one message at a time, each following the one before, repeated until it
 * is known what became of it.
 */
import { IronflowError } from '@ironflow/errors';
import { JournalUnreadableError } from '@ironflow/jetstream';
import type { AppendResult, Journal } from '@ironflow/jetstream';
import type { JournalEntry, JournalMessage, Scope, Writer } from '@ironflow/schema';
import type { Lease } from './lease.js';
import type { RunPosition } from './run-position.js';

export type WriteResult =
  | 'appended'
  /** The lease is over or the run is a newer writer's: stop and send nothing. */
  | 'lost'
  /** An older writer had appended something meanwhile: read the run again and go on from there. */
  | 'restart'
  /** More than the server takes in one message. It was not written. */
  | 'too_large'
  /** An output is nothing that Postgres takes. It was not written. */
  | 'refused';

export interface JournalChainOptions {
  journal: Journal;
  lease: Lease;
  scope: Scope;
  runId: string;
  functionId: string;
  writer: Writer;
  activatedAtMs: number;
  position: Pick<RunPosition, 'prev' | 'lastSequence'>;
  /** `runs.served` as it was when the activation began. */
  servedBefore: number;
  /** Since the position was read. */
  positionAgeMs: () => number;
  traceparent: string | undefined;
  /** What Postgres has accepted last, asked when the stream has nothing of the run any more. */
  acceptedSequence: () => Promise<number>;
  /**
   * Without a connection nothing is sent: the client would keep it until there is one again, when the lease may be
   * somebody else's.
   */
  isConnected: () => boolean;
  pause: (delayMs: number) => Promise<void>;
  observe: (event: 'appended' | 'conflict' | 'full' | 'unanswered', durationMs: number) => void;
}

/** What another writer appended after the position was read can be taken by Postgres and trimmed in about that time. */
const trimmableAfterMs = 500;
const retryDelayMsMin = 50;
const retryDelayMsMax = 1_000;

/** Appends one message. Rejects when it cannot be found out how the run goes on. */
export type AppendToChain = (entries: JournalEntry[], pinTo?: string) => Promise<WriteResult>;

export function createJournalChain(options: JournalChainOptions): AppendToChain {
  let { prev, lastSequence } = options.position;
  let counter = 0;
  /**
   * A stream that has nothing of the run takes an append that expects nothing, also when it was wiped after Postgres had taken
   * the first try, or when another writer's entries were taken and trimmed: Postgres will drop this one, with all that
   * would follow it.
   */
  const isBranch = (accepted: number, sequence: number): boolean => accepted !== prev && accepted < sequence;

  return async (entries, pinTo) => {
    counter += 1;
    let delayMs = retryDelayMsMin;
    let isRepeated = false;
    for (;;) {
      if (!options.lease.isHeld()) return 'lost';
      if (!options.isConnected()) {
        await options.pause(delayMs);
        continue;
      }
      const startedMs = performance.now();
      const result = await options.journal
        .append({
          scope: options.scope,
          message: { ...messageOf(options, prev, entries), ...pinOf(options, pinTo) },
          expectedSequence: lastSequence,
          counter,
          traceparent: options.traceparent,
        })
        .catch(refusalOf);
      const durationMs = performance.now() - startedMs;
      switch (result.kind) {
        case 'appended':
          options.observe('appended', durationMs);
          if (lastSequence === 0 && (isRepeated || options.positionAgeMs() > trimmableAfterMs)) {
            const accepted = await acceptedWhenAnswered(options);
            if (accepted === undefined) return 'lost';
            if (isBranch(accepted, result.sequence)) return 'restart';
          }
          prev = lastSequence = result.sequence;
          return 'appended';
        case 'superseded':
          options.observe('conflict', durationMs);
          options.lease.abandon('superseded by a newer writer');
          return 'lost';
        case 'overtook':
          options.observe('conflict', durationMs);
          return 'restart';
        case 'trimmed': {
          // A trimmed journal no longer refuses a stale expectation of 0: only the right `prev` may go on.
          options.observe('conflict', durationMs);
          const accepted = await acceptedWhenAnswered(options);
          if (accepted === undefined) return 'lost';
          if (accepted !== prev) return 'restart';
          lastSequence = 0;
          break;
        }
        case 'too_large':
          return 'too_large';
        case 'full':
        case 'unanswered':
          isRepeated = true;
          options.observe(result.kind, durationMs);
          await options.pause(delayMs);
          delayMs = Math.min(delayMs * 2, retryDelayMsMax);
          break;
      }
    }
  };
}

/**
 * While Postgres is away what has been done is not thrown away: it would be done again. `undefined` once the lease is over.
 */
async function acceptedWhenAnswered(options: JournalChainOptions): Promise<number | undefined> {
  let delayMs = retryDelayMsMin;
  while (options.lease.isHeld()) {
    try {
      return await options.acceptedSequence();
    } catch (error) {
      if (!(error instanceof IronflowError && error.category === 'unavailable')) throw error;
    }
    await options.pause(delayMs);
    delayMs = Math.min(delayMs * 2, retryDelayMsMax);
  }
  return undefined;
}

/** The answer to an append that did not go out, or whose conflict could not be looked into. */
function refusalOf(error: unknown): Extract<AppendResult, { kind: 'unanswered' }> | { kind: 'too_large' } {
  if (error instanceof JournalUnreadableError) return { kind: 'unanswered' };
  if (error instanceof IronflowError && error.code === 'message_refused') return { kind: 'too_large' };
  throw error;
}

function pinOf(
  { servedBefore }: JournalChainOptions,
  buildId: string | undefined,
): Pick<JournalMessage, 'pin'> {
  return buildId === undefined ? {} : { pin: { buildId, servedBefore } };
}

function messageOf(options: JournalChainOptions, prev: number, entries: JournalEntry[]): JournalMessage {
  return {
    environmentId: options.scope.environmentId,
    runId: options.runId,
    functionId: options.functionId,
    prev,
    writer: options.writer,
    activatedAtMs: options.activatedAtMs,
    entries,
  };
}

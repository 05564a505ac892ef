/**
 * The one writer of a run's journal during one activation. Appends go out one at a time; what is asked for meanwhile goes
 * out together as the next one, so that steps which end at once cost one append.
 */
import { JournalUnreadableError } from '@ironflow/jetstream';
import type { Journal } from '@ironflow/jetstream';
import type { JournalEntry, JournalMessage, Scope, Writer } from '@ironflow/schema';
import type { Lease } from './lease.js';
import type { RunPosition } from './run-position.js';

export type WriteResult =
  | 'appended'
  /** The lease is over or the run is a newer writer's: stop and send nothing. */
  | 'lost'
  /** An older writer had appended something meanwhile: read the run again and go on from there. */
  | 'restart';

export interface JournalWriter {
  append(entries: JournalEntry[]): Promise<WriteResult>;
  /** Whether anything was appended by this writer. */
  hasAppended(): boolean;
}

export interface JournalWriterOptions {
  journal: Journal;
  lease: Lease;
  scope: Scope;
  runId: string;
  functionId: string;
  writer: Writer;
  activatedAtMs: number;
  position: Pick<RunPosition, 'prev' | 'lastSequence'>;
  traceparent: string | undefined;
  /** What Postgres has accepted last, asked when the stream has nothing of the run any more. */
  acceptedSequence: () => Promise<number>;
  /** Waits; ends early when the lease is lost. */
  pause: (delayMs: number) => Promise<void>;
  observe: (event: 'appended' | 'conflict' | 'full' | 'unanswered', durationMs: number) => void;
}

interface Waiting {
  entries: JournalEntry[];
  resolve: (result: WriteResult) => void;
}

const retryDelayMsMin = 50;
const retryDelayMsMax = 1_000;

export function createJournalWriter(options: JournalWriterOptions): JournalWriter {
  let { prev, lastSequence } = options.position;
  let counter = 0;
  let appended = false;
  let broken: Exclude<WriteResult, 'appended'> | undefined;
  let queue: Waiting[] = [];
  let writing = false;

  const write = async (entries: JournalEntry[]): Promise<WriteResult> => {
    counter += 1;
    let delayMs = retryDelayMsMin;
    for (;;) {
      if (!options.lease.isHeld()) return 'lost';
      const startedMs = performance.now();
      const result = await options.journal
        .append({
          scope: options.scope,
          message: messageOf(options, prev, entries),
          expectedSequence: lastSequence,
          counter,
          traceparent: options.traceparent,
        })
        .catch((error: unknown) => {
          if (error instanceof JournalUnreadableError) return { kind: 'unanswered' as const };
          throw error;
        });
      const durationMs = performance.now() - startedMs;
      switch (result.kind) {
        case 'appended':
          options.observe('appended', durationMs);
          prev = lastSequence = result.sequence;
          appended = true;
          return 'appended';
        case 'superseded':
          options.observe('conflict', durationMs);
          options.lease.abandon('superseded by a newer writer');
          return 'lost';
        case 'overtook':
          options.observe('conflict', durationMs);
          return 'restart';
        case 'trimmed':
          // A trimmed journal no longer refuses a stale expectation of 0: only the right `prev` may go on.
          options.observe('conflict', durationMs);
          if ((await options.acceptedSequence()) !== prev) return 'restart';
          lastSequence = 0;
          break;
        case 'full':
        case 'unanswered':
          options.observe(result.kind, durationMs);
          await options.pause(delayMs);
          delayMs = Math.min(delayMs * 2, retryDelayMsMax);
          break;
      }
    }
  };
  const drain = async (): Promise<void> => {
    writing = true;
    while (queue.length > 0) {
      const batch = queue;
      queue = [];
      const entries = batch.flatMap((waiting) => waiting.entries);
      const result = broken ?? (await write(entries).catch(() => 'restart' as const));
      if (result !== 'appended') broken = result;
      for (const waiting of batch) waiting.resolve(result);
    }
    writing = false;
  };
  return {
    hasAppended: () => appended,
    append: (entries) =>
      new Promise((resolve) => {
        queue.push({ entries, resolve });
        if (!writing) void drain();
      }),
  };
}

function messageOf(options: JournalWriterOptions, prev: number, entries: JournalEntry[]): JournalMessage {
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

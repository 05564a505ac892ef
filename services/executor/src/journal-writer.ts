/**
 * The one writer of a run's journal during one activation. Appends go out one at a time; what is asked for meanwhile goes
 * out together as the next one, so that steps which end at once cost one append, as long as they fit into one message.
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
  /** One entry is larger than the server takes. It was not written, and what follows it in the same call was not either. */
  | 'too_large';

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
  /**
   * Without a connection nothing is sent: the client would keep it until there is one again, when the lease may be
   * somebody else's.
   */
  isConnected: () => boolean;
  pause: (delayMs: number) => Promise<void>;
  observe: (event: 'appended' | 'conflict' | 'full' | 'unanswered', durationMs: number) => void;
}

interface Waiting {
  entries: JournalEntry[];
  resolve: (result: WriteResult) => void;
}

const retryDelayMsMin = 50;
const retryDelayMsMax = 1_000;
/** Below nats-server's own limit of a message, 1 MiB, with its headers. */
const messageBytesMax = 700 * 1024;
/** Keys, times and numbers of an entry. */
const entryOverheadBytes = 512;

export function createJournalWriter(options: JournalWriterOptions): JournalWriter {
  let { prev, lastSequence } = options.position;
  let counter = 0;
  let appended = false;
  let broken: 'lost' | 'restart' | undefined;
  let queue: Waiting[] = [];
  let writing = false;

  const write = async (entries: JournalEntry[]): Promise<WriteResult> => {
    counter += 1;
    let delayMs = retryDelayMsMin;
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
          message: messageOf(options, prev, entries),
          expectedSequence: lastSequence,
          counter,
          traceparent: options.traceparent,
        })
        .catch(refusalOf);
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
        case 'too_large':
          return 'too_large';
        case 'full':
        case 'unanswered':
          options.observe(result.kind, durationMs);
          await options.pause(delayMs);
          delayMs = Math.min(delayMs * 2, retryDelayMsMax);
          break;
      }
    }
  };
  /** Halves what a server with a smaller limit refuses, down to the one entry that is too large by itself. */
  const writePart = async (entries: JournalEntry[]): Promise<WriteResult> => {
    const result = await write(entries);
    if (result !== 'too_large' || entries.length === 1) return result;
    const half = Math.ceil(entries.length / 2);
    const first = await writePart(entries.slice(0, half));
    return first === 'appended' ? writePart(entries.slice(half)) : first;
  };
  const writeAll = async (entries: JournalEntry[]): Promise<WriteResult> => {
    for (let from = 0; from < entries.length;) {
      const to = endOfPart(entries, from);
      const result = await writePart(from === 0 && to === entries.length ? entries : entries.slice(from, to));
      if (result !== 'appended') return result;
      from = to;
    }
    return 'appended';
  };
  const settle = async (batch: Waiting[]): Promise<void> => {
    const entries = batch.flatMap((waiting) => waiting.entries);
    const result = broken ?? (await writeAll(entries).catch(() => 'restart' as const));
    if (result === 'lost' || result === 'restart') broken = result;
    for (const waiting of batch) waiting.resolve(result);
  };
  const drain = async (): Promise<void> => {
    writing = true;
    while (queue.length > 0) {
      const waiting = queue;
      queue = [];
      for (let from = 0; from < waiting.length;) {
        const to = endOfBatch(waiting, from);
        await settle(from === 0 && to === waiting.length ? waiting : waiting.slice(from, to));
        from = to;
      }
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

/** The answer to an append that did not go out, or whose conflict could not be looked into. */
function refusalOf(error: unknown): Extract<AppendResult, { kind: 'unanswered' }> | { kind: 'too_large' } {
  if (error instanceof JournalUnreadableError) return { kind: 'unanswered' };
  if (error instanceof IronflowError && error.code === 'message_refused') return { kind: 'too_large' };
  throw error;
}

/** How many of the waiting fit into one message, at least one. */
function endOfBatch(waiting: Waiting[], from: number): number {
  let to = from;
  for (let bytes = 0; to < waiting.length; to += 1) {
    for (const entry of waiting[to]!.entries) bytes += entryBytesMax(entry);
    if (to > from && bytes > messageBytesMax) break;
  }
  return to;
}

function endOfPart(entries: JournalEntry[], from: number): number {
  let to = from;
  for (let bytes = 0; to < entries.length; to += 1) {
    bytes += entryBytesMax(entries[to]!);
    if (to > from && bytes > messageBytesMax) break;
  }
  return to;
}

/** A bound that costs nothing: JSON within JSON has three bytes a character at most, plain text six. */
export function entryBytesMax(entry: JournalEntry): number {
  const ended = entry.type === 'step' ? entry.step : entry.run;
  const outputLength = 'output' in ended ? (ended.output?.length ?? 0) : 0;
  const error = 'error' in ended ? ended.error : 'retry' in ended ? ended.retry?.error : undefined;
  let textLength = entry.type === 'step' ? entry.step.id.length + entry.step.name.length : 0;
  if (error !== undefined)
    textLength += error.name.length + error.message.length + (error.stack?.length ?? 0);
  return entryOverheadBytes + 3 * outputLength + 6 * textLength;
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

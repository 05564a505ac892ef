/**
 * Journals of runs in RESULTS (docs/architecture.md, "The journal"). The rules that make an append safe:
 *
 * J1 Every append expects the run's last sequence, always with the same filter string.
 * J2 Reads go to the stream's leader (STREAM.MSG.GET): a replica may not have the last append yet.
 * J3 A retry repeats its message id. After a conflict, the writer looks whether the last entry is its own.
 *    An entry of its own that does not lie above what it already knew of is one of another life of the same delivery
 *    (a durable that was remade counts deliveries from 1 again): this append was not stored, and the writer stops.
 * J4 A message that is none of a journal belongs to nobody: reads pass over it (the collector dead-letters it), and an append
 *    goes past it. One of a newer major version is a message that somebody can read: then nobody else may go on.
 */
import { compareWriters, headerNames, journalSchemaVersion, outputClaimOf, subjects } from '@ironflow/schema';
import type { JournalEntry, JournalMessage, Scope, Writer } from '@ironflow/schema';
import type { Connection } from './connection.js';
import { createJournalReader, isReadable, JournalUnreadableError } from './journal-reader.js';
import type { JournalReader, Stored, StoredJournalMessage } from './journal-reader.js';
import type { JetStreamLog } from './log.js';
import type { Publisher, PublishResult } from './publisher.js';
import { createStreamStates } from './stream-state.js';

export interface AppendRequest {
  scope: Scope;
  message: JournalMessage;
  /** The run's last sequence in the stream; 0 if none. Messages that cannot be read do not count. */
  expectedSequence: number;
  /** Counts the appends of one activation. */
  counter: number;
  traceparent?: string | undefined;
}

export type AppendResult =
  | { kind: 'appended'; sequence: number }
  /** Another writer was there, or this one in an earlier life: what it was decides who goes on (`compareWriters`). */
  | { kind: 'superseded'; by: Writer }
  | { kind: 'overtook'; older: Writer }
  /** The expectation failed and the stream has nothing of the run: it was trimmed. */
  | { kind: 'trimmed' }
  /** The stream takes nothing at the moment: wait and append again. */
  | { kind: 'full' }
  /** No answer: perhaps appended; append again, with the same counter. */
  | { kind: 'unanswered' };

export interface Journal {
  /** Rejects like the readers below, when a conflict has to be looked into. */
  append(request: AppendRequest): Promise<AppendResult>;
  /**
   * The last message of a run that can be read. Rejects with JournalUnreadableError when the stream cannot be read, and
   * with JournalTooNewError when the run has a message of a newer major version, which concerns this run alone.
   */
  last(scope: Scope, runId: string): Promise<StoredJournalMessage | undefined>;
  /**
   * Every message of a run after a sequence that can be read, in order; up to one, where the caller knows which is the
   * last. Rejects like `last`.
   */
  after(scope: Scope, runId: string, sequence: number, upTo?: number): Promise<StoredJournalMessage[]>;
  /** Removes every message below a sequence. */
  trimBelow(sequence: number): Promise<void>;
  /**
   * Sees to it that the next message gets a sequence above this one, which another life of the stream has used. What is
   * stored is removed if it lies below: to be applied first. An append under way meanwhile may go with it; its writer's next
   * one is told that the journal was trimmed. Rejects when the stream does not answer or refuses.
   */
  advanceBeyond(sequence: number): Promise<void>;
}

/** Others would have to write garbage between each look and the append that follows it. */
const appendRoundsMax = 5;
const decoder = new TextDecoder();

export interface JournalOptions {
  connection: Connection;
  publisher: Publisher;
  /** Told when the stream is missing, so that somebody provisions it. */
  onNoStream: () => void;
  log?: JetStreamLog | undefined;
}

export function createJournal(options: JournalOptions): Journal {
  const { connection, publisher, onNoStream } = options;
  const reader = createJournalReader(options);
  const states = createStreamStates(connection);

  const after: Journal['after'] = async (scope, runId, sequence, upTo) =>
    (await reader.after(subjects.journalOf(scope, runId), sequence, upTo)).filter(isReadable);
  const last = async (scope: Scope, runId: string): Promise<StoredJournalMessage | undefined> => {
    const stored = await reader.last(subjects.journalOf(scope, runId));
    if (stored === undefined || isReadable(stored)) return stored;
    return (await after(scope, runId, 0, stored.sequence)).at(-1);
  };
  const publish = (request: AppendRequest, lastSequence: number): Promise<PublishResult> => {
    const { scope, message } = request;
    return publisher.publish({
      subject: subjects.journal(scope, message.runId, endsRun(message) ? 'run' : 'step'),
      data: JSON.stringify(message),
      messageId: messageIdOf(message, request.counter),
      expect: { filter: subjects.journalOf(scope, message.runId), lastSequence },
      headers: {
        ...(request.traceparent === undefined ? {} : { [headerNames.traceparent]: request.traceparent }),
        ...(message.entries.some(isNewer) ? { [headerNames.schemaVersion]: journalSchemaVersion } : {}),
      },
    });
  };

  const purgeBelow = async (sequence: number): Promise<boolean> => {
    const reply = await connection.request({
      subject: '$JS.API.STREAM.PURGE.RESULTS',
      data: JSON.stringify({ seq: sequence }),
    });
    if (reply.kind === 'no_responders') onNoStream();
    return reply.kind === 'message' && isSuccess(reply.data);
  };

  return {
    last,
    after,
    append: async (request) => {
      let expected = request.expectedSequence;
      for (let round = 1; round <= appendRoundsMax; round += 1) {
        const result = await publish(request, expected);
        if (result.kind === 'stored') {
          const { sequence, duplicate } = result;
          return duplicate ? judgeOwn(sequence, request, expected) : { kind: 'appended', sequence };
        }
        if (result.kind === 'stream_full') return { kind: 'full' };
        if (result.kind === 'refused') {
          options.log?.warn(`RESULTS refused an append: ${result.code} ${result.reason}`);
        }
        if (result.kind !== 'conflict') break;
        const judgement = await judgeConflict(reader, request, expected);
        if (judgement.kind !== 'passable') return judgement;
        expected = judgement.sequence;
      }
      return { kind: 'unanswered' };
    },
    trimBelow: async (sequence) => void (await purgeBelow(sequence)),
    advanceBeyond: async (sequence) => {
      const { lastSequence } = await states.stream('RESULTS');
      if (lastSequence >= sequence) return;
      const isDone = await purgeBelow(sequence + 1);
      if (!isDone) throw new JournalUnreadableError(`RESULTS cannot be advanced beyond ${sequence}`);
    },
  };
}

/** `passable`: only messages that cannot be read have come between, up to that sequence. */
type Judgement = AppendResult | { kind: 'passable'; sequence: number };

async function judgeConflict(
  reader: JournalReader,
  request: AppendRequest,
  expected: number,
): Promise<Judgement> {
  const filter = subjects.journalOf(request.scope, request.message.runId);
  const stored = await reader.last(filter);
  if (stored === undefined || isReadable(stored) || stored.sequence <= expected) {
    return judge(stored, request, expected);
  }
  const between = (await reader.after(filter, expected, stored.sequence)).filter(isReadable);
  if (between.length > 0) return judge(between.at(-1), request, expected);
  // Where the expected message is gone, others that followed it may be gone with it. Expecting nothing at all promises
  // that Postgres has everything up to `prev`: there is nothing to miss.
  const isWhole = expected === 0 || (await reader.next(filter, expected))?.sequence === expected;
  return isWhole ? { kind: 'passable', sequence: stored.sequence } : { kind: 'trimmed' };
}

/** What a refused append means, from what stands last in the run's journal. */
function judge(stored: Stored | undefined, request: AppendRequest, expected: number): AppendResult {
  if (stored === undefined) return { kind: 'trimmed' };
  if (stored.messageId === messageIdOf(request.message, request.counter)) {
    return judgeOwn(stored.sequence, request, expected);
  }
  // Nothing came between: on a replicated stream another append was under way, and has not been decided yet.
  if (stored.sequence === expected) return { kind: 'unanswered' };
  if (stored.sequence < expected || !isReadable(stored)) return { kind: 'trimmed' };
  const theirs = stored.message.writer;
  // A writer that meets an append of its own which it does not know of has lost count: it stops like any other.
  return compareWriters(theirs, request.message.writer) < 0
    ? { kind: 'overtook', older: theirs }
    : { kind: 'superseded', by: theirs };
}

/** What an entry with this append's message id means. What Postgres has may be trimmed, and is then expected as 0. */
function judgeOwn(sequence: number, { message }: AppendRequest, expected: number): AppendResult {
  return sequence > Math.max(expected, message.prev)
    ? { kind: 'appended', sequence }
    : { kind: 'superseded', by: message.writer };
}

function messageIdOf(message: JournalMessage, counter: number): string {
  const { activation, delivery, executor } = message.writer;
  return `${message.environmentId}.${executor}.${activation}.${delivery}.${counter}`;
}

/** An older reader would take it for an entry without output, or for one that is none. */
function isNewer(entry: JournalEntry): boolean {
  if (outputClaimOf(entry) !== undefined) return true;
  if (entry.type === 'step') return entry.step.status === 'registered';
  return entry.run.kind === 'stopping' || entry.run.kind === 'skipped';
}

function endsRun(message: JournalMessage): boolean {
  return message.entries.at(-1)?.type === 'run';
}

function isSuccess(data: Uint8Array): boolean {
  return (JSON.parse(decoder.decode(data)) as { success?: boolean }).success === true;
}

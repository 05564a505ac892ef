/**
 * Journals of runs in RESULTS (docs/architecture.md, "The journal"). The rules that make an append safe:
 *
 * J1 Every append expects the run's last sequence, always with the same filter string.
 * J2 Reads go to the stream's leader (STREAM.MSG.GET): a replica may not have the last append yet.
 * J3 A retry repeats its message id. After a conflict, the writer looks whether the last entry is its own.
 * J4 A message that is none of a journal belongs to nobody: reads pass over it (the collector dead-letters it), and an append
 *    goes past it. One of a newer major version is a message that somebody can read: then nobody else may go on.
 */
import { compareWriters, headerNames, subjects } from '@ironflow/schema';
import type { JournalMessage, Scope, Writer } from '@ironflow/schema';
import type { Connection } from './connection.js';
import { createJournalReader, isReadable } from './journal-reader.js';
import type { JournalReader, Stored, StoredJournalMessage } from './journal-reader.js';
import type { Publisher, PublishResult } from './publisher.js';

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
  /** Another writer was there: what it was decides who goes on (`compareWriters`). */
  | { kind: 'superseded'; by: Writer }
  | { kind: 'overtook'; older: Writer }
  /** The expectation failed and the stream has nothing of the run: it was trimmed. */
  | { kind: 'trimmed' }
  /** The stream takes nothing at the moment: wait and append again. */
  | { kind: 'full' }
  /** No answer: perhaps appended; append again, with the same counter. */
  | { kind: 'unanswered' };

export interface Journal {
  append(request: AppendRequest): Promise<AppendResult>;
  /** The last message of a run that can be read. Rejects when the stream cannot be read. */
  last(scope: Scope, runId: string): Promise<StoredJournalMessage | undefined>;
  /** Every message of a run after a sequence that can be read, in order. */
  after(scope: Scope, runId: string, sequence: number): Promise<StoredJournalMessage[]>;
  /** Removes every message below a sequence. */
  trimBelow(sequence: number): Promise<void>;
}

/** Others would have to write garbage between each look and the append that follows it. */
const appendRoundsMax = 5;

export interface JournalOptions {
  connection: Connection;
  publisher: Publisher;
  /** Told when the stream is missing, so that somebody provisions it. */
  onNoStream: () => void;
  log?: ((message: string) => void) | undefined;
}

export function createJournal(options: JournalOptions): Journal {
  const { connection, publisher, onNoStream } = options;
  const reader = createJournalReader(options);

  const after = async (scope: Scope, runId: string, sequence: number): Promise<StoredJournalMessage[]> =>
    (await reader.after(subjects.journalOf(scope, runId), sequence)).filter(isReadable);
  const last = async (scope: Scope, runId: string): Promise<StoredJournalMessage | undefined> => {
    const stored = await reader.last(subjects.journalOf(scope, runId));
    if (stored === undefined || isReadable(stored)) return stored;
    return (await after(scope, runId, 0)).at(-1);
  };
  const publish = (request: AppendRequest, lastSequence: number): Promise<PublishResult> => {
    const { scope, message } = request;
    return publisher.publish({
      subject: subjects.journal(scope, message.runId, endsRun(message) ? 'run' : 'step'),
      data: JSON.stringify(message),
      messageId: messageIdOf(message, request.counter),
      expect: { filter: subjects.journalOf(scope, message.runId), lastSequence },
      ...(request.traceparent === undefined
        ? {}
        : { headers: { [headerNames.traceparent]: request.traceparent } }),
    });
  };

  return {
    last,
    after,
    append: async (request) => {
      let expected = request.expectedSequence;
      for (let round = 1; round <= appendRoundsMax; round += 1) {
        const result = await publish(request, expected);
        if (result.kind === 'stored') return { kind: 'appended', sequence: result.sequence };
        if (result.kind === 'stream_full') return { kind: 'full' };
        if (result.kind !== 'conflict') break;
        const judgement = await judgeConflict(reader, request, expected);
        if (judgement.kind !== 'passable') return judgement;
        expected = judgement.sequence;
      }
      return { kind: 'unanswered' };
    },
    trimBelow: async (sequence) => {
      const reply = await connection.request({
        subject: '$JS.API.STREAM.PURGE.RESULTS',
        data: JSON.stringify({ seq: sequence }),
      });
      if (reply.kind === 'no_responders') onNoStream();
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
  const between = (await reader.after(filter, expected)).filter(isReadable);
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
    return { kind: 'appended', sequence: stored.sequence };
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

function messageIdOf(message: JournalMessage, counter: number): string {
  const { activation, delivery, executor } = message.writer;
  return `${message.environmentId}.${executor}.${activation}.${delivery}.${counter}`;
}

function endsRun(message: JournalMessage): boolean {
  return message.entries.at(-1)?.type === 'run';
}

/**
 * Journals of runs in RESULTS (docs/architecture.md, "The journal"). The rules that make an append safe:
 *
 * J1 Every append expects the run's last sequence, always with the same filter string.
 * J2 Reads go to the stream's leader (STREAM.MSG.GET): a replica may not have the last append yet.
 * J3 A retry repeats its message id. After a conflict, the writer looks whether the last entry is its own.
 */
import { compareWriters, headerNames, journalMessageSchema, subjects } from '@ironflow/schema';
import type { JournalMessage, Scope, Writer } from '@ironflow/schema';
import type { Connection } from './connection.js';
import type { Publisher } from './publisher.js';

export interface StoredJournalMessage {
  sequence: number;
  message: JournalMessage;
  /** Of its writer's append: the same for every retry of it. */
  messageId: string;
}

export interface AppendRequest {
  scope: Scope;
  message: JournalMessage;
  /** The run's last sequence in the stream; 0 if none. */
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
  /** The last message of a run. Rejects when the stream cannot be read. */
  last(scope: Scope, runId: string): Promise<StoredJournalMessage | undefined>;
  /** Every message of a run after a sequence, in order. */
  after(scope: Scope, runId: string, sequence: number): Promise<StoredJournalMessage[]>;
  /** Removes every message below a sequence. */
  trimBelow(sequence: number): Promise<void>;
}

export class JournalUnreadableError extends Error {
  override readonly name = 'JournalUnreadableError';
}

interface GetBody {
  message?: StoredBody;
  error?: { err_code?: number; description?: string };
}

interface StoredBody {
  seq: number;
  data?: string;
  hdrs?: string;
}

const getSubject = '$JS.API.STREAM.MSG.GET.RESULTS';
const noMessageFound = 10037;
/** Beyond any run: a bound for the loop, not a limit anybody meets. */
const messagesPerReadMax = 10_000;
const decoder = new TextDecoder();

export function createJournal(connection: Connection, publisher: Publisher, onNoStream: () => void): Journal {
  const get = async (query: object): Promise<StoredJournalMessage | undefined> => {
    const reply = await connection.request({ subject: getSubject, data: JSON.stringify(query) });
    if (reply.kind !== 'message') {
      if (reply.kind === 'no_responders') onNoStream();
      throw new JournalUnreadableError(`RESULTS cannot be read: ${reply.kind}`);
    }
    const body = JSON.parse(decoder.decode(reply.data)) as GetBody;
    if (body.message !== undefined) return readStored(body.message);
    if (body.error?.err_code === noMessageFound) return undefined;
    if (body.error?.err_code === 10059) onNoStream();
    throw new JournalUnreadableError(`RESULTS cannot be read: ${body.error?.description ?? 'no message'}`);
  };
  const last = (scope: Scope, runId: string): Promise<StoredJournalMessage | undefined> =>
    get({ last_by_subj: subjects.journalOf(scope, runId) });

  return {
    last,
    append: async (request) => {
      const { scope, message } = request;
      const result = await publisher.publish({
        subject: subjects.journal(scope, message.runId, endsRun(message) ? 'run' : 'step'),
        data: JSON.stringify(message),
        messageId: messageIdOf(message, request.counter),
        expect: { filter: subjects.journalOf(scope, message.runId), lastSequence: request.expectedSequence },
        ...(request.traceparent === undefined
          ? {}
          : { headers: { [headerNames.traceparent]: request.traceparent } }),
      });
      switch (result.kind) {
        case 'stored':
          return { kind: 'appended', sequence: result.sequence };
        case 'conflict':
          return last(scope, message.runId).then((stored) => judge(stored, request));
        case 'stream_full':
          return { kind: 'full' };
        default:
          return { kind: 'unanswered' };
      }
    },
    after: async (scope, runId, sequence) => {
      const found: StoredJournalMessage[] = [];
      let from = sequence + 1;
      while (found.length < messagesPerReadMax) {
        const next = await get({ seq: from, next_by_subj: subjects.journalOf(scope, runId) });
        if (next === undefined) break;
        found.push(next);
        from = next.sequence + 1;
      }
      return found;
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

/** What a refused append means, from what stands last in the run's journal. */
export function judge(stored: StoredJournalMessage | undefined, request: AppendRequest): AppendResult {
  if (stored === undefined) return { kind: 'trimmed' };
  if (stored.messageId === messageIdOf(request.message, request.counter)) {
    return { kind: 'appended', sequence: stored.sequence };
  }
  // Nothing came between: on a replicated stream another append was under way, and has not been decided yet.
  if (stored.sequence === request.expectedSequence) return { kind: 'unanswered' };
  const theirs = stored.message.writer;
  if (stored.sequence < request.expectedSequence) return { kind: 'trimmed' };
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

function readStored(stored: StoredBody): StoredJournalMessage {
  const text = Buffer.from(stored.data ?? '', 'base64').toString('utf8');
  const headers = Buffer.from(stored.hdrs ?? '', 'base64').toString('utf8');
  return {
    sequence: stored.seq,
    message: journalMessageSchema.parse(JSON.parse(text)),
    messageId: /^Nats-Msg-Id: (.*)$/m.exec(headers)?.[1]?.trim() ?? '',
  };
}

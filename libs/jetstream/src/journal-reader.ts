/**
 * Reads the messages of a run's journal one by one from the leader of RESULTS, and tells those of a journal from those that
 * only stand on its subject. What is done about the latter is the journal's.
 */
import { canRead, headerNames, journalMessageSchema } from '@ironflow/schema';
import type { JournalMessage } from '@ironflow/schema';
import type { Connection } from './connection.js';
import type { JetStreamLog } from './log.js';

export interface StoredJournalMessage {
  sequence: number;
  message: JournalMessage;
  /** Of its writer's append: the same for every retry of it. */
  messageId: string;
}

/** What the stream has on a run's subject; without `message` if that cannot be read. */
export type Stored = Omit<StoredJournalMessage, 'message'> & { message?: JournalMessage };

/** All reject when the stream cannot be read, or when a message is of a newer major version. */
export interface JournalReader {
  last(filter: string): Promise<Stored | undefined>;
  /** The first at or after a sequence. */
  next(filter: string, from: number): Promise<Stored | undefined>;
  /** All after a sequence, in order; where it is known which is the last, one request less. */
  after(filter: string, sequence: number, upTo?: number): Promise<Stored[]>;
}

export interface JournalReaderOptions {
  connection: Connection;
  /** Told when the stream is missing, so that somebody provisions it. */
  onNoStream: () => void;
  log?: JetStreamLog | undefined;
}

/** The stream cannot be read at the moment. */
export class JournalUnreadableError extends Error {
  override readonly name = 'JournalUnreadableError';
}

/** A newer service wrote a message of this run: only one like it may go on with the run. It says nothing of other runs. */
export class JournalTooNewError extends Error {
  override readonly name = 'JournalTooNewError';
}

const getSubject = '$JS.API.STREAM.MSG.GET.RESULTS';
const noMessageFound = 10037;
const streamNotFound = 10059;
/** Beyond any run: a bound for the loop, not a limit anybody meets. */
const messagesPerReadMax = 10_000;
const decoder = new TextDecoder();

export function createJournalReader(options: JournalReaderOptions): JournalReader {
  const get = async (query: object): Promise<Stored | undefined> => {
    const reply = await options.connection.request({ subject: getSubject, data: JSON.stringify(query) });
    if (reply.kind !== 'message') {
      if (reply.kind === 'no_responders') options.onNoStream();
      throw new JournalUnreadableError(`RESULTS cannot be read: ${reply.kind}`);
    }
    const body = JSON.parse(decoder.decode(reply.data)) as GetBody;
    if (body.message !== undefined) return read(body.message, options);
    if (body.error?.err_code === noMessageFound) return undefined;
    if (body.error?.err_code === streamNotFound) options.onNoStream();
    throw new JournalUnreadableError(`RESULTS cannot be read: ${body.error?.description ?? 'no message'}`);
  };
  const next = (filter: string, from: number): Promise<Stored | undefined> =>
    get({ seq: from, next_by_subj: filter });
  return {
    last: (filter) => get({ last_by_subj: filter }),
    next,
    after: async (filter, sequence, upTo = Infinity) => {
      const found: Stored[] = [];
      let from = sequence + 1;
      while (from <= upTo && found.length < messagesPerReadMax) {
        const stored = await next(filter, from);
        if (stored === undefined) break;
        found.push(stored);
        from = stored.sequence + 1;
      }
      return found;
    },
  };
}

export function isReadable(stored: Stored): stored is StoredJournalMessage {
  return stored.message !== undefined;
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

function read({ seq, data, hdrs }: StoredBody, { log }: JournalReaderOptions): Stored {
  const headers = Buffer.from(hdrs ?? '', 'base64').toString('utf8');
  // Passing over it would fork the run, and waiting for it here would hold up other runs.
  if (!canRead(headerOf(headers, headerNames.schemaVersion))) {
    throw new JournalTooNewError(`message ${seq} of RESULTS is of a newer version`);
  }
  const stored = { sequence: seq, messageId: headerOf(headers, 'Nats-Msg-Id') ?? '' };
  try {
    const text = Buffer.from(data ?? '', 'base64').toString('utf8');
    return { ...stored, message: journalMessageSchema.parse(JSON.parse(text)) };
  } catch {
    // What is wrong with it would quote it.
    log?.warn(`message ${seq} of RESULTS cannot be read and is passed over`);
    return stored;
  }
}

function headerOf(headers: string, name: string): string | undefined {
  const line = headers.split('\r\n').find((candidate) => candidate.startsWith(`${name}:`));
  return line?.slice(name.length + 1).trim();
}

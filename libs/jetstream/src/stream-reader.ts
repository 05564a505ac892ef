/**
 * All messages of a stream, in the order of their sequences, with no more of them in memory than one request brings.
 *
 * The server's own snapshots are not used: from 2.15 on they walk through the stream while it changes, up to the sequence that it had
 * at the beginning. What is overwritten meanwhile is in one neither as it was nor as it is, so a key that is set all the time is
 * in no snapshot of its bucket. Here
 *
 * 1. what was read up to a sequence is the stream as it was when that was its last one, if of what came since the reading before nothing is
 *    missing: what was overwritten before has come with its newer value, and what is overwritten later had been read. So reading goes on, from
 *    one last sequence to the next, until nothing is missing between two of them. How many messages a consumer says are behind one
 *    does not tell: the server counts later than it stores.
 * 2. a queue is read message by message, since it lets nobody but its one consumer consume; up to where it ended at the beginning.
 *    What is acknowledged meanwhile is done with and may be missing.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { createInbox } from '@nats-io/transport-node';
import type { Msg } from '@nats-io/transport-node';
import { IronflowError } from '@ironflow/errors';
import type { Connection } from './connection.js';
import { headerBlockOf } from './header-block.js';
import { askApi, noMessageFoundCode, refusalOf, requireApi } from './jetstream-api.js';
import type { StoredMessage } from './message-archive.js';
import { findStream } from './stream-catalog.js';
import type { StreamSummary } from './stream-catalog.js';

export type ReadingConnection = Pick<Connection, 'nats' | 'request' | 'publish' | 'listen'>;

const batchMax = 500;
const batchBytes = 8 * 1024 * 1024;
const expiresMs = 5_000;
/** Longer than a request may stay open: it is lost. */
const silenceMs = 8_000;
const inactiveThresholdMs = 60_000;
/** One after the other, without a message in between. */
const interruptionsMax = 5;
const retryDelayMs = 300;
/** From one last sequence to the next: beyond it something writes faster than this reads. */
const roundsMax = 2_000;

/** Rejects with `stream_not_found` when it is removed meanwhile. */
export function readStream(
  connection: ReadingConnection,
  stream: StreamSummary,
): AsyncGenerator<StoredMessage> {
  return stream.configuration.retention === 'limits'
    ? readThrough(connection, stream)
    : readOneByOne(connection, stream);
}

async function* readThrough(
  connection: ReadingConnection,
  { name, firstSequence, lastSequence }: StreamSummary,
): AsyncGenerator<StoredMessage> {
  const source = createSource(connection, name);
  // One that never had a message begins at 0.
  let next = Math.max(1, firstSequence);
  let end = lastSequence;
  try {
    for (let round = 0; round < roundsMax; round += 1) {
      const from = next;
      let read = 0;
      while (next <= end) {
        const message = await source.peek(next);
        if (message === undefined) return;
        if (message.sequence > end) break;
        source.drop();
        yield message;
        read += 1;
        next = message.sequence + 1;
      }
      if (read === end + 1 - from) return;
      next = end + 1;
      end = (await persistently(() => requireStream(connection, name))).lastSequence;
    }
  } finally {
    source.close();
  }
  const message = `${name} is written faster than it can be read: back it up when less is going on`;
  throw new IronflowError('unavailable', 'stream_too_fast', message);
}

async function requireStream(connection: ReadingConnection, name: string): Promise<StreamSummary> {
  const found = await findStream(connection, name);
  if (found !== undefined) return found;
  throw new IronflowError('not_found', 'stream_not_found', `there is no stream ${name} any more`);
}

interface Source {
  /** The first message at or after a sequence; `undefined` when the stream has none. */
  peek(from: number): Promise<StoredMessage | undefined>;
  /** The one that was peeked at last. */
  drop(): void;
  close(): void;
}

/** Messages of one consumer after the other: one that is lost is followed by the next. */
function createSource(connection: ReadingConnection, name: string): Source {
  let reader: Reader | undefined;
  const close = (): void => {
    reader?.close();
    reader = undefined;
  };
  return {
    drop: () => reader?.drop(),
    close,
    peek: async (from) => {
      for (let interruptions = 0; interruptions < interruptionsMax; interruptions += 1) {
        reader ??= await persistently(() => openReader(connection, { name, from }));
        let found = await reader.peek();
        if (found === 'nothing') {
          const next = await persistently(() => getMessage(connection, { name, from }));
          if (next === undefined) return undefined;
          found = await reader.peek({ isExpected: true });
        }
        if (typeof found === 'object') return found;
        close();
        await delay(retryDelayMs * interruptions);
      }
      const message = `${name} cannot be read now: no messages come`;
      throw new IronflowError('unavailable', 'stream_unavailable', message);
    },
  };
}

interface Reader {
  /** Waits for a message that the server says is there, or that is expected for another reason. */
  peek(options?: { isExpected: boolean }): Promise<StoredMessage | 'nothing' | 'lost'>;
  drop(): void;
  close(): void;
}

/** Asks on and on, so that what is written now comes before it is overwritten; for no more than there is room for. */
async function openReader(
  connection: ReadingConnection,
  { name, from }: { name: string; from: number },
): Promise<Reader> {
  const consumer = `backup_${randomBytes(8).toString('hex')}`;
  const inbox = createInbox();
  const held: StoredMessage[] = [];
  let heldBytes = 0;
  let [outstanding, place] = [0, 0];
  let isLost = false;
  let wake = (): void => undefined;
  const ask = (): void => {
    if (isLost || outstanding > 0 || heldBytes >= batchBytes || held.length >= batchMax) return;
    outstanding = batchMax;
    const subject = `$JS.API.CONSUMER.MSG.NEXT.${name}.${consumer}`;
    connection.publish({ subject, data: JSON.stringify(pullRequest(connection)), reply: inbox });
  };
  let { num_pending: pending } = await createConsumer(connection, { name, consumer, from });
  const stop = connection.listen(inbox, (message) => {
    const delivered = readDelivery(message);
    if (delivered === undefined) {
      outstanding = 0;
      isLost = !isRequestOver(message);
    } else if (delivered.place === place + 1) {
      [place, pending] = [delivered.place, delivered.pending];
      outstanding -= 1;
      held.push(delivered.message);
      heldBytes += delivered.message.data.length;
    } else {
      isLost = true;
    }
    ask();
    wake();
  });
  const arrival = (): Promise<void> =>
    new Promise((resolve) => {
      const silence = setTimeout(() => {
        isLost = true;
        resolve();
      }, silenceMs);
      wake = () => {
        clearTimeout(silence);
        resolve();
      };
    });
  ask();
  return {
    peek: async ({ isExpected } = { isExpected: false }) => {
      if (held.length === 0 && !isLost && (pending > 0 || isExpected)) await arrival();
      return held[0] ?? (isLost ? 'lost' : 'nothing');
    },
    drop: () => {
      heldBytes -= held.shift()?.data.length ?? 0;
      ask();
    },
    close: () => {
      isLost = true;
      stop();
      connection.publish({ subject: `$JS.API.CONSUMER.DELETE.${name}.${consumer}`, data: '' });
    },
  };
}

function createConsumer(
  connection: ReadingConnection,
  { name, consumer, from }: { name: string; consumer: string; from: number },
): Promise<{ num_pending: number }> {
  const config = {
    name: consumer,
    deliver_policy: 'by_start_sequence',
    opt_start_seq: from,
    ack_policy: 'none',
    replay_policy: 'instant',
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: inactiveThresholdMs * 1e6,
  };
  return requireApi(connection, `CONSUMER.CREATE.${name}.${consumer}`, { stream_name: name, config });
}

function pullRequest({ nats }: ReadingConnection): object {
  // The largest message has to fit, or none would come.
  const bytes = Math.max(batchBytes, 2 * (nats.info?.max_payload ?? 0));
  return { batch: batchMax, max_bytes: bytes, expires: expiresMs * 1e6 };
}

/** It took too long, or what comes next is too much for it: the next one goes on. Otherwise the consumer is gone. */
function isRequestOver({ headers }: Msg): boolean {
  return headers?.code === 408 || /maxbytes/i.test(headers?.description ?? '');
}

interface Delivered {
  message: StoredMessage;
  /** Among what this consumer has delivered, from 1 on. */
  place: number;
  /** What is behind it, as the server has counted. */
  pending: number;
}

/** `undefined` for what is no message but ends the request. The tokens are told in delivery.ts. */
function readDelivery(message: Msg): Delivered | undefined {
  const tokens = (message.reply ?? '').split('.');
  if (tokens[0] !== '$JS' || tokens[1] !== 'ACK') return undefined;
  const [sequence, place, time, pending] = tokens.slice(tokens.length >= 11 ? 7 : 5);
  return {
    place: Number(place),
    pending: Number(pending),
    message: {
      sequence: Number(sequence),
      storedAtNs: BigInt(time ?? ''),
      subject: message.subject,
      headers: headerBlockOf(message),
      data: message.data,
    },
  };
}

/** What a leader that has gone did not answer, the next one does. */
async function persistently<T>(work: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await work();
    } catch (error) {
      const mayPass = error instanceof IronflowError && error.category === 'unavailable';
      if (!mayPass || failures === interruptionsMax) throw error;
      await delay(retryDelayMs * failures);
    }
  }
}

async function* readOneByOne(
  connection: ReadingConnection,
  { name, lastSequence }: StreamSummary,
): AsyncGenerator<StoredMessage> {
  let next = 1;
  while (next <= lastSequence) {
    const message = await persistently(() => getMessage(connection, { name, from: next }));
    if (message === undefined || message.sequence > lastSequence) return;
    yield message;
    next = message.sequence + 1;
  }
}

/** The first at or after a sequence. */
async function getMessage(
  connection: ReadingConnection,
  { name, from }: { name: string; from: number },
): Promise<StoredMessage | undefined> {
  const call = `STREAM.MSG.GET.${name}`;
  const { message, error } = await askApi<GetAnswer>(connection, call, { seq: from, next_by_subj: '>' });
  if (error?.err_code === noMessageFoundCode) return undefined;
  if (error !== undefined || message === undefined) throw refusalOf(call, error ?? {});
  return {
    sequence: message.seq,
    storedAtNs: nanosecondsOf(message.time),
    subject: message.subject,
    headers: Buffer.from(message.hdrs ?? '', 'base64'),
    data: Buffer.from(message.data ?? '', 'base64'),
  };
}

interface GetAnswer {
  message?: { subject: string; seq: number; time: string; hdrs?: string; data?: string };
}

/** Of a time in RFC 3339, whose fraction may have nine digits. */
function nanosecondsOf(time: string): bigint {
  const [, seconds, fraction = '', zone] = /^([^.Z+]+)(?:\.(\d+))?(.*)$/.exec(time) ?? [];
  return BigInt(Date.parse(`${seconds}${zone}`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}

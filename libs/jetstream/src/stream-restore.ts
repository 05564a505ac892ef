/**
 * A stream made from the messages of a backup, by the server's own restore: sequences, times, headers and all.
 *
 * 1. It is restored without limits, on one replica, and marked. Nothing leaves it while it is compared with the backup, message by message;
 *    then it gets its configuration, which lets go of what is too old by now, and its replicas.
 * 2. Who finds a marked stream finds one of a restore that did not come to its end: nothing in it is missed by anybody.
 * 3. Consumers are not restored: services make theirs, and read the stream from its beginning.
 */
import { IronflowError } from '@ironflow/errors';
import type { StreamConfiguration } from '@ironflow/schema';
import type { Connection } from './connection.js';
import { requireApi } from './jetstream-api.js';
import type { ApiError } from './jetstream-api.js';
import { decodeMessages, encodeArchiveHead, frameArchive } from './message-archive.js';
import type { ArchivedState, StoredMessage } from './message-archive.js';
import { configureStream, findStream } from './stream-catalog.js';
import { readStream } from './stream-reader.js';
import type { ReadingConnection } from './stream-reader.js';

export interface RestoreRequest {
  /** As it is to be in the end. */
  configuration: StreamConfiguration;
  /** Where sequences go on is said here; it may be beyond the last message. */
  state: ArchivedState;
  /** The encoded messages; asked for twice, to be sent and to be compared. */
  read: () => Promise<AsyncIterable<Uint8Array>>;
  onMessage?: (() => void) | undefined;
}

/** Archives of messages came with it. */
const serverVersionMin = [2, 15] as const;
const markName = 'ironflow.restore';
const inFlightMax = 8;
const decoder = new TextDecoder();

export function isHalfRestored({ metadata }: StreamConfiguration): boolean {
  return metadata?.[markName] !== undefined;
}

export function requireRestoringServer({ nats }: Pick<Connection, 'nats'>): void {
  const { version = '' } = nats.info ?? {};
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [majorMin, minorMin] = serverVersionMin;
  if (major > majorMin || (major === majorMin && minor >= minorMin)) return;
  const message = `nats-server ${version} cannot restore: ${serverVersionMin.join('.')} or newer is needed`;
  throw new IronflowError('unavailable', 'nats_server_too_old', message);
}

/** All of it, compared; answers how many messages have gone since by a time to live of their own. */
export async function loadStream(
  connection: ReadingConnection,
  request: RestoreRequest,
): Promise<{ expired: number }> {
  const { configuration, state } = request;
  const { name } = configuration;
  await sendArchive(connection, request);
  const restored = await findStream(connection, name);
  if (restored === undefined) throw differs(name, 'it is not there');
  if (restored.lastSequence !== state.lastSequence) {
    throw differs(name, `its last sequence is ${restored.lastSequence} and not ${state.lastSequence}`);
  }
  return compare(name, {
    expected: decodeMessages(await request.read()),
    found: readStream(connection, restored),
    onMessage: request.onMessage,
  });
}

/** Gives it its configuration, and resolves when all replicas have it. */
export async function settleStream(
  connection: Pick<Connection, 'request'>,
  { configuration }: Pick<RestoreRequest, 'configuration'>,
): Promise<void> {
  await configureStream(connection, { ...configuration, metadata: configuration.metadata ?? {} });
}

function withoutLimits(configuration: StreamConfiguration): StreamConfiguration {
  return {
    ...configuration,
    num_replicas: 1,
    max_msgs: -1,
    max_bytes: -1,
    max_age: 0,
    max_msgs_per_subject: -1,
    discard: 'old',
    discard_new_per_subject: false,
    allow_msg_ttl: false,
    subject_delete_marker_ttl: 0,
    sealed: false,
    metadata: { ...configuration.metadata, [markName]: new Date().toISOString() },
  };
}

async function sendArchive(connection: ReadingConnection, request: RestoreRequest): Promise<void> {
  const { configuration, state } = request;
  const call = `STREAM.RESTORE.${configuration.name}`;
  const body = {
    config: withoutLimits(configuration),
    state: {
      messages: state.messages,
      bytes: state.bytes,
      first_seq: state.firstSequence,
      last_seq: state.lastSequence,
      consumer_count: 0,
    },
  };
  const { deliver_subject: subject } = await requireApi<{ deliver_subject: string }>(connection, call, body);
  const send = (data: Uint8Array): Promise<IronflowError | undefined> =>
    sendChunk(connection, { call, subject, data });
  const inFlight: Promise<IronflowError | undefined>[] = [];
  const settle = async (): Promise<void> => {
    const failure = await inFlight.shift();
    if (failure !== undefined) throw failure;
  };
  for await (const frame of frameArchive(archiveOf(state, await request.read()))) {
    inFlight.push(send(frame));
    if (inFlight.length >= inFlightMax) await settle();
  }
  while (inFlight.length > 0) await settle();
  // Nothing more: the answer is that of a stream that was made.
  const failure = await send(new Uint8Array());
  if (failure !== undefined) throw failure;
}

async function* archiveOf(
  state: ArchivedState,
  messages: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield encodeArchiveHead(state);
  yield* messages;
}

/** Never rejects: others are under way while one is waited for. */
async function sendChunk(
  connection: Pick<Connection, 'request'>,
  { call, subject, data }: { call: string; subject: string; data: Uint8Array },
): Promise<IronflowError | undefined> {
  try {
    const reply = await connection.request({ subject, data });
    if (reply.kind !== 'message') return interrupted(call, reply.kind);
    const { error } = JSON.parse(decoder.decode(reply.data) || '{}') as { error?: ApiError };
    return error === undefined ? undefined : interrupted(call, error.description ?? 'error');
  } catch (error) {
    return error as IronflowError;
  }
}

interface Comparison {
  expected: AsyncIterable<StoredMessage>;
  found: AsyncGenerator<StoredMessage>;
  onMessage: (() => void) | undefined;
}

async function compare(
  name: string,
  { expected, found, onMessage }: Comparison,
): Promise<{ expired: number }> {
  let expired = 0;
  try {
    let next = await found.next();
    for await (const message of expected) {
      onMessage?.();
      if (next.done === true || next.value.sequence !== message.sequence) {
        if (!hasExpired(message)) throw differs(name, `message ${message.sequence} is missing`);
        expired += 1;
        continue;
      }
      if (!isSame(next.value, message)) throw differs(name, `message ${message.sequence} is another`);
      next = await found.next();
    }
    if (next.done !== true) throw differs(name, `message ${next.value.sequence} is not of the backup`);
    return { expired };
  } finally {
    await found.return(undefined);
  }
}

function isSame(one: StoredMessage, other: StoredMessage): boolean {
  return (
    one.storedAtNs === other.storedAtNs &&
    one.subject === other.subject &&
    Buffer.compare(one.headers, other.headers) === 0 &&
    Buffer.compare(one.data, other.data) === 0
  );
}

const secondsOfUnits: Readonly<Record<string, number>> = { h: 3_600, m: 60, s: 1 };

/** By a time to live of its own: the server leaves out what has outlived it. */
function hasExpired({ headers, storedAtNs }: StoredMessage): boolean {
  const ttl = /^Nats-TTL: *([^\r\n]*)/im.exec(Buffer.from(headers).toString('utf8'))?.[1];
  if (ttl === undefined) return false;
  const parts = [...ttl.matchAll(/(\d+(?:\.\d+)?)(h|m|s|$)/g)];
  if (parts.length === 0) return false;
  const seconds = parts.reduce(
    (sum, [, count, unit]) => sum + Number(count) * (secondsOfUnits[unit!] ?? 1),
    0,
  );
  return Date.now() >= Number(storedAtNs / 1_000_000n) + seconds * 1_000;
}

function interrupted(call: string, why: string): IronflowError {
  return new IronflowError('unavailable', 'restore_interrupted', `JetStream: ${call}: ${why}`);
}

function differs(name: string, how: string): IronflowError {
  return new IronflowError('conflict', 'restore_differs', `${name} is not as it was backed up: ${how}`);
}

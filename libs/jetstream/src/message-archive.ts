/**
 * Messages of a stream as bytes: what a backup keeps, and what the server restores a stream from. Pure.
 *
 * An entry is what nats-server (2.15 and newer) reads in an archive: lengths and numbers as varints, the subject, the headers, the
 * payload. An entry of nothing ends them. A backup keeps the entries alone; the head before them, which says where sequences begin
 * and go on, is written as the stream is restored. On its way an archive is framed as S2 asks for, in blocks that are not compressed.
 */
import { IronflowError } from '@ironflow/errors';

export interface StoredMessage {
  sequence: number;
  storedAtNs: bigint;
  subject: string;
  /** The block as it was published; empty if there is none. */
  headers: Uint8Array;
  data: Uint8Array;
}

export interface ArchivedState {
  messages: number;
  bytes: number;
  firstSequence: number;
  lastSequence: number;
}

const magic = 'NATSARC1';
const stateEntry = 'state.json';
/** Name, time, sequence and both lengths: all of them 0. */
export const archiveEnd: Uint8Array = new Uint8Array(5);

export function encodeMessage({ sequence, storedAtNs, subject, headers, data }: StoredMessage): Buffer {
  const name = Buffer.from(subject);
  const head: number[] = [];
  pushVarint(head, BigInt(name.length));
  // Signed numbers are zigzag; none of these is negative.
  pushVarint(head, storedAtNs * 2n);
  for (const number of [sequence, headers.length, data.length]) pushVarint(head, BigInt(number));
  return Buffer.concat([Uint8Array.from(head), name, headers, data]);
}

export function encodeArchiveHead({ messages, bytes, firstSequence, lastSequence }: ArchivedState): Buffer {
  const state = { messages, bytes, first_seq: firstSequence, last_seq: lastSequence, consumer_count: 0 };
  const entry = encodeMessage({
    sequence: 0,
    storedAtNs: 0n,
    subject: stateEntry,
    headers: new Uint8Array(),
    data: Buffer.from(JSON.stringify(state)),
  });
  return Buffer.concat([Buffer.from(magic), entry]);
}

/** Rejects with `backup_damaged` when they do not end as they should. */
export async function* decodeMessages(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<StoredMessage> {
  let held = Buffer.alloc(0);
  let hasEnded = false;
  for await (const chunk of chunks) {
    if (hasEnded) throw damaged('something follows their end');
    held = held.length === 0 ? Buffer.from(chunk) : Buffer.concat([held, chunk]);
    let at = 0;
    for (let read = readEntry(held, at); read !== undefined; read = readEntry(held, at)) {
      at = read.end;
      hasEnded = read.message === undefined;
      if (hasEnded) break;
      yield read.message!;
    }
    held = held.subarray(at);
    if (hasEnded && held.length > 0) throw damaged('something follows their end');
  }
  if (!hasEnded) throw damaged('their end is missing');
}

/** `undefined` while some of it is missing; without a message it is the end. */
function readEntry(bytes: Buffer, start: number): { message?: StoredMessage; end: number } | undefined {
  const cursor = { at: start };
  const fields: bigint[] = [];
  while (fields.length < 5) {
    const field = readVarint(bytes, cursor);
    if (field === undefined) return undefined;
    fields.push(field);
  }
  if (fields.every((field) => field === 0n)) return { end: cursor.at };
  const [nameLength, time, sequence, headersLength, dataLength] = fields as [
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  const nameEnd = cursor.at + Number(nameLength);
  const headersEnd = nameEnd + Number(headersLength);
  const end = headersEnd + Number(dataLength);
  if (sequence === 0n || !Number.isSafeInteger(end)) throw damaged('an entry is none of a message');
  if (end > bytes.length) return undefined;
  const message = {
    sequence: Number(sequence),
    storedAtNs: time / 2n,
    subject: bytes.toString('utf8', cursor.at, nameEnd),
    headers: bytes.subarray(nameEnd, headersEnd),
    data: bytes.subarray(headersEnd, end),
  };
  return { message, end };
}

function pushVarint(out: number[], value: bigint): void {
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
}

function readVarint(bytes: Buffer, cursor: { at: number }): bigint | undefined {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = bytes[cursor.at];
    if (byte === undefined) return undefined;
    cursor.at += 1;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  throw damaged('a number does not end');
}

function damaged(how: string): IronflowError {
  return new IronflowError('invalid', 'backup_damaged', `the messages of a backup cannot be read: ${how}`);
}

const s2Identifier = Buffer.from([0xff, 6, 0, 0, ...Buffer.from('S2sTwO')]);
const uncompressedBlock = 0x01;
const blockBytesMax = 64 * 1024;

/** Each frame is small enough for a message of its own. */
export async function* frameArchive(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  yield s2Identifier;
  for await (const part of parts) {
    for (let at = 0; at < part.length; at += blockBytesMax)
      yield frameOf(part.subarray(at, at + blockBytesMax));
  }
}

function frameOf(block: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt8(uncompressedBlock, 0);
  head.writeUIntLE(block.length + 4, 1, 3);
  head.writeUInt32LE(maskedChecksum(block), 4);
  return Buffer.concat([head, block]);
}

const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C, turned and shifted as the framing asks for. */
function maskedChecksum(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let at = 0; at < bytes.length; at += 1) crc = crcTable[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

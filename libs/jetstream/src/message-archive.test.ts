import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  archiveEnd,
  decodeMessages,
  encodeArchiveHead,
  encodeMessage,
  frameArchive,
} from './message-archive.js';
import type { StoredMessage } from './message-archive.js';

const bytes = fc.uint8Array({ maxLength: 300 });
const message: fc.Arbitrary<StoredMessage> = fc.record({
  sequence: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  storedAtNs: fc.bigInt({ min: 0n, max: 4_000_000_000_000_000_000n }),
  subject: fc.string({ unit: 'grapheme', minLength: 1 }),
  headers: bytes,
  data: bytes,
});

async function* chunked(content: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
}

async function decode(content: Uint8Array, size = content.length): Promise<StoredMessage[]> {
  const messages: StoredMessage[] = [];
  for await (const one of decodeMessages(chunked(content, size))) {
    messages.push({ ...one, headers: Uint8Array.from(one.headers), data: Uint8Array.from(one.data) });
  }
  return messages;
}

const archiveOf = (messages: StoredMessage[]): Buffer =>
  Buffer.concat([...messages.map(encodeMessage), archiveEnd]);

test('messages are read as they were written, in chunks of whatever size', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(message, { maxLength: 20 }),
      fc.integer({ min: 1, max: 500 }),
      async (messages, size) => {
        expect(await decode(archiveOf(messages), size)).toEqual(messages);
      },
    ),
  );
});

test('an archive that ends anywhere before its end, or goes on behind it, is refused', async () => {
  const one = {
    sequence: 7,
    storedAtNs: 1n,
    subject: 'a.b',
    headers: new Uint8Array(),
    data: Buffer.from('1'),
  };
  const whole = archiveOf([one, { ...one, sequence: 300 }]);
  for (let length = 0; length < whole.length; length += 1) {
    await expect(decode(whole.subarray(0, length), 4)).rejects.toMatchObject({ code: 'backup_damaged' });
  }
  await expect(decode(Buffer.concat([whole, Buffer.from([1])]), 1)).rejects.toThrow(
    'something follows their end',
  );
});

test('the head says where sequences begin and go on', () => {
  const head = encodeArchiveHead({ messages: 2, bytes: 10, firstSequence: 7, lastSequence: 400 });
  expect(head.toString('latin1')).toMatch(
    /^NATSARC1\x0a\x00\x00\x00.state\.json\{.*"first_seq":7,"last_seq":400/s,
  );
});

test('frames have at most 64 KiB and the checksum of what is in them', async () => {
  const frames: Buffer[] = [];
  for await (const frame of frameArchive(chunked(Buffer.alloc(100_000), 100_000))) frames.push(frame);
  expect(frames.map(({ length }) => length)).toEqual([10, 65_544, 34_472]);
  // Of 32 zeros, as RFC 3720 has it: 0x8a9136aa, which is turned and shifted here.
  for await (const frame of frameArchive(chunked(Buffer.alloc(32), 32))) frames.push(frame);
  const crc = 0x8a9136aa;
  const masked = (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  expect(frames.at(-1)!.readUInt32LE(4)).toBe(masked);
});

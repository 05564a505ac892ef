/** The messages of a stream as a file: compressed, counted and hashed on the way. */
import { createHash } from 'node:crypto';
import { pipeline, Readable } from 'node:stream';
import { createGunzip, createGzip } from 'node:zlib';
import { archiveEnd, decodeMessages, encodeMessage } from '@ironflow/jetstream';
import type { StoredMessage, StreamSummary } from '@ironflow/jetstream';
import { IronflowError } from '@ironflow/errors';
import type { StreamBackup } from '@ironflow/schema';
import { inChunks } from './storage.js';
import type { BackupStorage } from './storage.js';

/** Encoded messages of about this size go through the compression at once. */
const blockBytes = 64 * 1024;

export async function writeArchive(
  storage: BackupStorage,
  { stream, messages }: { stream: StreamSummary; messages: AsyncIterable<StoredMessage> },
): Promise<StreamBackup> {
  const content = createTally();
  const stored = createTally();
  const counted = { messages: 0, firstSequence: stream.firstSequence, lastSequence: stream.lastSequence };
  async function* encoded(): AsyncGenerator<Uint8Array> {
    for await (const message of messages) {
      if (counted.messages === 0) counted.firstSequence = message.sequence;
      counted.messages += 1;
      counted.lastSequence = Math.max(counted.lastSequence, message.sequence);
      yield encodeMessage(message);
    }
    yield archiveEnd;
  }
  const name = `${stream.name}.messages.gz`;
  const blocks = content.through(inChunks(encoded(), blockBytes));
  await storage.write(name, stored.through(through(blocks, createGzip({ level: 1 }))));
  if (counted.messages === 0) counted.firstSequence = counted.lastSequence + 1;
  return {
    configuration: stream.configuration,
    ...counted,
    bytes: content.bytes(),
    contentSha256: content.sha256(),
    file: { name, bytes: stored.bytes(), sha256: stored.sha256() },
  };
}

/** The encoded messages. */
export async function readArchive(
  storage: BackupStorage,
  { file }: StreamBackup,
): Promise<AsyncIterable<Uint8Array>> {
  return through(await storage.read(file.name), createGunzip({ chunkSize: blockBytes }));
}

/** Rejects with `backup_damaged` unless file and content are what the manifest says. */
export async function checkArchive(storage: BackupStorage, backup: StreamBackup): Promise<void> {
  const { file } = backup;
  const stored = createTally();
  // To its end, also when it cannot be decompressed: then its hash tells why.
  for await (const chunk of stored.through(await storage.read(file.name))) void chunk;
  if (stored.bytes() !== file.bytes)
    throw damaged(file.name, `it has ${stored.bytes()} bytes of ${file.bytes}`);
  if (stored.sha256() !== file.sha256) throw damaged(file.name, 'its hash is another');
  const content = createTally();
  const found = { messages: 0, firstSequence: backup.firstSequence, lastSequence: 0 };
  for await (const { sequence } of decodeMessages(content.through(await readArchive(storage, backup)))) {
    if (found.messages === 0) found.firstSequence = sequence;
    if (sequence <= found.lastSequence) throw damaged(file.name, `message ${sequence} is out of order`);
    found.messages += 1;
    found.lastSequence = sequence;
  }
  const isAsSaid =
    found.messages === backup.messages &&
    found.firstSequence === backup.firstSequence &&
    found.lastSequence <= backup.lastSequence &&
    content.sha256() === backup.contentSha256;
  if (!isAsSaid) throw damaged(file.name, 'its messages are not those of the manifest');
}

interface Tally {
  through(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
  bytes(): number;
  sha256(): string;
}

function createTally(): Tally {
  const hash = createHash('sha256');
  let bytes = 0;
  return {
    through: async function* (content) {
      for await (const chunk of content) {
        hash.update(chunk);
        bytes += chunk.length;
        yield chunk;
      }
    },
    bytes: () => bytes,
    sha256: () => hash.digest('hex'),
  };
}

function through(
  content: AsyncIterable<Uint8Array>,
  transform: ReturnType<typeof createGzip> | ReturnType<typeof createGunzip>,
): AsyncIterable<Uint8Array> {
  // An error of either ends both, and comes to whoever reads.
  pipeline(Readable.from(content, { objectMode: false }), transform, () => undefined);
  return transform;
}

function damaged(file: string, how: string): IronflowError {
  return new IronflowError('conflict', 'backup_damaged', `${file} is damaged: ${how}`);
}

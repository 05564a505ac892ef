/**
 * `ironflow backup verify`: every file is there and has what the manifest says. With `restoreCheck` every stream is restored by
 * a server of its own that is thrown away afterwards, and read back.
 */
import { connectNats, loadStream, removeStream } from '@ironflow/jetstream';
import type { Connection } from '@ironflow/jetstream';
import { IronflowError } from '@ironflow/errors';
import type { BackupManifest, StreamBackup, StreamConfiguration } from '@ironflow/schema';
import type * as serversModule from '@ironflow/testing';
import { checkArchive, readArchive } from './archive-files.js';
import { readManifest } from './manifest.js';
import { openStorage } from './open-storage.js';
import { watchProgress } from './progress.js';
import type { OnProgress } from './progress.js';
import type { BackupStorage } from './storage.js';

export interface VerifyBackupOptions {
  env: NodeJS.ProcessEnv;
  /** Of one backup, as `create` has named it. */
  place: string;
  restoreCheck?: boolean;
  onProgress?: OnProgress | undefined;
}

/** Larger than what any server lets through. */
const maxPayloadBytes = 64 * 1024 * 1024;

export async function verifyBackup(options: VerifyBackupOptions): Promise<BackupManifest> {
  const storage = await openStorage(options.place, options.env);
  const manifest = await readManifest(storage);
  await checkFiles(storage, manifest.streams, options.onProgress);
  if (options.restoreCheck === true) await checkRestore(storage, manifest.streams, options.onProgress);
  return manifest;
}

export async function checkFiles(
  storage: BackupStorage,
  streams: readonly StreamBackup[],
  onProgress: OnProgress | undefined,
): Promise<void> {
  const progress = watchProgress('checking', streams.length, onProgress);
  for (const stream of streams) {
    progress.begin({ name: stream.configuration.name, messages: stream.messages });
    await checkArchive(storage, stream);
  }
}

async function checkRestore(
  storage: BackupStorage,
  streams: readonly StreamBackup[],
  onProgress: OnProgress | undefined,
): Promise<void> {
  const { createScratch, startNatsServer } = await loadServers();
  const scratch = await createScratch('restore-check');
  const ending: (() => Promise<void>)[] = [() => scratch.remove()];
  try {
    const server = await startNatsServer({ storeDir: scratch.path, maxPayloadBytes });
    ending.push(() => server.kill());
    const connection = await connectNats({
      url: server.url,
      name: 'restore-check',
      requestTimeoutMs: 30_000,
    });
    ending.push(() => connection.close());
    const progress = watchProgress('restoring', streams.length, onProgress);
    for (const stream of streams) {
      progress.begin({ name: stream.configuration.name, messages: stream.messages });
      await tryStream(connection, { storage, stream, onMessage: progress.onMessage });
    }
  } finally {
    for (const end of ending.reverse()) await end();
  }
}

/** Late: it brings servers with it that an image does not have. */
async function loadServers(): Promise<typeof serversModule> {
  return import('@ironflow/testing').catch((error: unknown) => {
    const message =
      '--restore-check needs a nats-server, which the image of the CLI has not: run it in a clone of Ironflow';
    throw new IronflowError('unavailable', 'nats_server_missing', message, { cause: error });
  });
}

/** One after the other, so that the disk has to hold the largest and not all of them. */
async function tryStream(
  connection: Connection,
  of: { storage: BackupStorage; stream: StreamBackup; onMessage: () => void },
): Promise<void> {
  const { storage, stream, onMessage } = of;
  await loadStream(connection, {
    configuration: onItsOwn(stream.configuration),
    state: stream,
    read: () => readArchive(storage, stream),
    onMessage,
  });
  await removeStream(connection, stream.configuration.name);
}

/** Without what ties it to other streams and servers; and no queue, which would be read slowly. */
function onItsOwn(configuration: StreamConfiguration): StreamConfiguration {
  const tied = ['mirror', 'sources', 'republish', 'placement', 'subject_transform'];
  const own = Object.fromEntries(Object.entries(configuration).filter(([field]) => !tied.includes(field)));
  return { ...(own as StreamConfiguration), retention: 'limits', storage: 'file' };
}

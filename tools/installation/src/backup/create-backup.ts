/** `ironflow backup create`: every chosen stream into a file of its own, while others go on writing, and the manifest last. */
import { randomBytes } from 'node:crypto';
import { listStreams, readStream } from '@ironflow/jetstream';
import { IronflowError } from '@ironflow/errors';
import type { BackupManifest, StreamBackup } from '@ironflow/schema';
import { platformVersion } from '@ironflow/service';
import { writeArchive } from './archive-files.js';
import { chooseStreams } from './choice.js';
import { writeManifest } from './manifest.js';
import { openStorage, placeWithin } from './open-storage.js';
import { connectBackup } from './connect-backup.js';
import { watchProgress } from './progress.js';
import type { OnProgress } from './progress.js';

export interface CreateBackupOptions {
  env: NodeJS.ProcessEnv;
  /** A folder or `s3://<bucket>/<prefix>`; the backup gets a place of its own in it. */
  target: string;
  /** As choice.ts reads it; all of them by default. */
  only?: string | undefined;
  onProgress?: OnProgress | undefined;
}

export async function createBackup(
  options: CreateBackupOptions,
): Promise<{ place: string; manifest: BackupManifest }> {
  const startedAt = new Date();
  const id = `${startedAt.toISOString().replaceAll(/[-:]|\.\d+/g, '')}-${randomBytes(3).toString('hex')}`;
  const storage = await openStorage(placeWithin(options.target, id), options.env);
  const connection = await connectBackup(options.env);
  try {
    const found = await listStreams(connection);
    const names = chooseStreams(
      found.map(({ name }) => name),
      options.only ?? 'all',
    );
    const progress = watchProgress('saving', names.length, options.onProgress);
    const streams: StreamBackup[] = [];
    for (const stream of found.filter(({ name }) => names.includes(name))) {
      progress.begin(stream);
      const messages = progress.counting(readStream(connection, stream));
      const saved = await writeArchive(storage, { stream, messages }).catch(unlessRemoved);
      if (saved !== undefined) streams.push(saved);
    }
    const manifest: BackupManifest = {
      format: 1,
      id,
      startedAt: startedAt.toISOString(),
      endedAt: new Date().toISOString(),
      productVersion: platformVersion,
      serverVersion: connection.nats.info?.version ?? '',
      streams,
    };
    await writeManifest(storage, manifest);
    return { place: storage.place, manifest };
  } finally {
    await connection.close();
  }
}

/** A tenant's bucket may go while others are saved: then it is not in the backup, whatever is in its file. */
function unlessRemoved(error: unknown): undefined {
  if (error instanceof IronflowError && error.code === 'stream_not_found') return undefined;
  throw error;
}

/** The manifest of a backup in its storage. */
import { messageOf, IronflowError } from '@ironflow/errors';
import { backupManifestFile, backupManifestSchema } from '@ironflow/schema';
import type { BackupManifest } from '@ironflow/schema';
import type { BackupStorage } from './storage.js';

const manifestBytesMax = 64 * 1024 * 1024;

export async function writeManifest(storage: BackupStorage, manifest: BackupManifest): Promise<void> {
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  async function* content(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(text);
  }
  await storage.write(backupManifestFile, content());
}

export async function readManifest(storage: BackupStorage): Promise<BackupManifest> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const content = await storage.read(backupManifestFile).catch((error: unknown) => {
    if (!(error instanceof IronflowError) || error.category !== 'not_found') throw error;
    const message = `${storage.place} is no backup, or none that came to its end: it has no ${backupManifestFile}`;
    throw new IronflowError('not_found', 'backup_incomplete', message);
  });
  for await (const chunk of content) {
    bytes += chunk.length;
    if (bytes > manifestBytesMax) throw unreadable(storage.place, 'it is too large');
    chunks.push(chunk);
  }
  try {
    return backupManifestSchema.parse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
  } catch (error) {
    throw unreadable(storage.place, error instanceof SyntaxError ? 'it is no JSON' : messageOf(error));
  }
}

function unreadable(place: string, why: string): IronflowError {
  const message = `the ${backupManifestFile} of ${place} cannot be read: ${why}`;
  return new IronflowError('conflict', 'backup_damaged', message);
}

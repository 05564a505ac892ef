/** The storage that a place names: a folder or `s3://<bucket>/<prefix>`. */
import { IronflowError } from '@ironflow/errors';
import type { BackupStorage } from './storage.js';
import { openFolder } from './storage-folder.js';

/** What S3 needs is loaded late: few need it. */
export async function openStorage(place: string, env: NodeJS.ProcessEnv): Promise<BackupStorage> {
  if (!place.includes('://')) return openFolder(place);
  if (!place.startsWith('s3://')) {
    const message = `${place} is no place for a backup: a folder or s3://<bucket>/<prefix> is`;
    throw new IronflowError('invalid', 'config_invalid', message);
  }
  const { openS3 } = await import('./storage-s3.js');
  return openS3(place, env);
}

export function placeWithin(place: string, name: string): string {
  return `${place.replace(/\/+$/, '')}/${name}`;
}

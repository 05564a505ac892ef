/** Files of a backup in a folder, for their owner alone. A file has its name once all of it is on the disk. */
import { createReadStream } from 'node:fs';
import { access, link, mkdir, open, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { IronflowError } from '@ironflow/errors';
import { fileMissing } from './storage.js';
import type { BackupStorage } from './storage.js';

const chunkBytes = 256 * 1024;

export function openFolder(place: string): BackupStorage {
  const folder = resolve(place);
  return {
    place,
    write: async (name, content) => {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const unfinished = join(folder, `${name}.unfinished`);
      const file = await open(unfinished, 'w', 0o600);
      try {
        for await (const chunk of content) await file.writeFile(chunk);
        await file.sync();
        // Unlike a rename, it replaces nothing.
        await link(unfinished, join(folder, name));
      } catch (error) {
        throw describe(error, place, name);
      } finally {
        await file.close();
        await rm(unfinished, { force: true });
      }
    },
    read: async (name) => {
      const path = join(folder, name);
      await access(path).catch(() => {
        throw fileMissing(place, name);
      });
      return createReadStream(path, { highWaterMark: chunkBytes });
    },
  };
}

function describe(error: unknown, place: string, name: string): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return error;
  return new IronflowError('conflict', 'backup_exists', `${name} is in ${place} already`);
}

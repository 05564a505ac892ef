/** A disk that can be filled to its last byte: a small one in memory. Mounting one takes root, which is said where it is missing. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface SmallDisk {
  readonly path: string;
  fill(): void;
  /** Takes away what filled it. */
  makeRoom(): void;
  unmount(): void;
}

export function mountSmallDisk(path: string, mebibytes: number): SmallDisk {
  mkdirSync(path);
  run('mount', '-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=0700`, 'tmpfs', path);
  const filling = join(path, 'filling');
  return {
    path,
    fill: () => fill(filling),
    makeRoom: () => rmSync(filling, { force: true }),
    // Also while a server that was just killed still has files open.
    unmount: () => run('umount', '--lazy', path),
  };
}

function run(command: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return;
  throw new Error(`a small disk takes root to mount (${command}: ${error?.message ?? stderr.trim()})`);
}

function fill(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (let bytes = 1024 * 1024; bytes >= 1;) {
      try {
        writeSync(file, Buffer.alloc(bytes, 1));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        bytes = Math.floor(bytes / 2);
      }
    }
  } finally {
    closeSync(file);
  }
}

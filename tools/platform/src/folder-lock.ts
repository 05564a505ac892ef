/**
 * One platform at a time on a data folder: a file that names the process which has it. A lock whose process is gone, as
 * after kill -9, is taken over. A process is told by its id and, where the system tells, the moment of its start, since
 * ids are used again.
 */
import { readFileSync } from 'node:fs';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IronflowError } from '@ironflow/errors';

interface Owner {
  pid: number;
  /** In the kernel's ticks; absent where /proc is. */
  startedAt?: string | undefined;
}

/** Each round either takes the lock, finds its owner alive, or removes a dead one's. */
const roundsMax = 10;

export async function lockFolder(folder: string): Promise<{ stop(): Promise<void> }> {
  const lock = join(folder, 'platform.lock');
  const candidate = `${lock}.${process.pid}`;
  await writeFile(candidate, JSON.stringify({ pid: process.pid, startedAt: startOf(process.pid) }));
  try {
    for (let round = 0; round < roundsMax; round += 1) {
      if (await take(candidate, lock)) return { stop: () => rm(lock, { force: true }) };
      await removeStale(lock, folder);
    }
  } finally {
    await rm(candidate, { force: true });
  }
  throw inUse(folder, 'another process');
}

/** A link is made whole or not at all, and only by one. */
async function take(candidate: string, lock: string): Promise<boolean> {
  try {
    await link(candidate, lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function removeStale(lock: string, folder: string): Promise<void> {
  const text = await readFile(lock, 'utf8').catch(() => undefined);
  if (text === undefined) return;
  const owner = ownerOf(text);
  if (owner !== undefined && isAlive(owner)) throw inUse(folder, `process ${owner.pid}`);
  // Renaming decides between two that find it stale; who gets a newer one by it gives it back.
  const aside = `${lock}.stale-${process.pid}`;
  try {
    await rename(lock, aside);
    if ((await readFile(aside, 'utf8')) !== text) await link(aside, lock);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'EEXIST') throw error;
  }
  await rm(aside, { force: true });
}

function ownerOf(text: string): Owner | undefined {
  try {
    const owner = JSON.parse(text) as Owner;
    return Number.isInteger(owner.pid) ? owner : undefined;
  } catch {
    return undefined;
  }
}

function isAlive({ pid, startedAt }: Owner): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return startedAt === undefined || startOf(pid) === startedAt;
}

function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The 22nd field; the name in parentheses, the second, may contain anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function inUse(folder: string, who: string): IronflowError {
  return new IronflowError(
    'conflict',
    'data_folder_in_use',
    `a platform (${who}) already runs on ${folder}: stop it, or choose another folder with IRONFLOW_DATA`,
  );
}

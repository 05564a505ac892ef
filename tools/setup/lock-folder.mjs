// @ts-check
/**
 * A lock between processes: a folder that exists while its owner works. Nothing has to be installed for it, and a
 * lock whose owner died is taken over. A process is told by its id and, where the system tells, the moment of its start:
 * ids are used again, in containers at once.
 */
import { readFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Creating the folder and naming its owner are two calls; an owner missing for longer died between them. */
const ownerMissingMsMax = 5_000;
const pollMs = 100;

/**
 * Runs `action` while holding the lock; waits for another owner at most `waitMs`.
 * @template T
 * @param {{ folder: string, waitMs: number, onWait?: () => void }} options
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
export async function withLock({ folder, waitMs, onWait }, action) {
  await mkdir(dirname(folder), { recursive: true });
  const deadline = Date.now() + waitMs;
  for (let waited = false; !(await acquire(folder)); waited = true) {
    if (Date.now() > deadline) {
      throw new Error(`waited ${waitMs / 1000} s for ${folder}; remove it if nothing is being installed`);
    }
    if (!waited) onWait?.();
    await delay(pollMs);
  }
  try {
    return await action();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param {string} folder */
async function acquire(folder) {
  try {
    await mkdir(folder);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    await removeIfStale(folder);
    return false;
  }
  try {
    await writeFile(join(folder, 'owner'), describeProcess(process.pid));
    return true;
  } catch (error) {
    // Somebody thought it stale before it had an owner, and took it away.
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** @param {string} folder */
async function removeIfStale(folder) {
  const owner = await staleOwner(folder);
  if (owner === undefined) return;
  // Renaming decides between several that find the lock stale. Who finds a newer owner in what was renamed gives it back.
  const aside = `${folder}.stale-${process.pid}`;
  try {
    await rename(folder, aside);
    if ((await readOwner(aside)) !== owner) await rename(aside, folder);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' && codeOf(error) !== 'ENOTEMPTY') throw error;
  }
  await rm(aside, { recursive: true, force: true });
}

/**
 * The owner's text when the owner is gone, undefined when the lock is held (or already free).
 * @param {string} folder
 */
async function staleOwner(folder) {
  const owner = await readOwner(folder);
  if (owner !== '') return isAlive(owner) ? undefined : owner;
  const made = await stat(folder).catch(() => undefined);
  return made !== undefined && Date.now() - made.mtimeMs > ownerMissingMsMax ? owner : undefined;
}

/** @param {string} folder */
async function readOwner(folder) {
  return readFile(join(folder, 'owner'), 'utf8').catch(() => '');
}

/** @param {number} pid */
function describeProcess(pid) {
  return `${pid} ${startOf(pid)}`.trim();
}

/** @param {string} owner */
function isAlive(owner) {
  const [pid = '', startedAt = ''] = owner.split(' ');
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return false;
  }
  return startedAt === '' || startOf(Number(pid)) === startedAt;
}

/**
 * In the kernel's ticks; empty where /proc is missing.
 * @param {number} pid
 */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The 22nd field; the name in parentheses, the second, may contain anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

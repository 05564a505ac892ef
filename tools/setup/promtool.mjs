// @ts-check
/**
 * Finds promtool, which tests alert rules, and fetches it when the machine has none: what somebody chose, what is there, and
 * the Debian mirror that this machine trusts already. (Prometheus' module cannot be compiled by `go install`.)
 */
import { execFile } from 'node:child_process';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { fetchFromDebianMirror } from './debian-program.mjs';
import { withLock } from './lock-folder.mjs';

const run = promisify(execFile);
/** Fetching it takes half a minute. */
const fetchWaitMs = 5 * 60_000;

/**
 * @param {{ log?: (line: string) => void, env?: NodeJS.ProcessEnv }} [options]
 * @returns {Promise<string>}
 */
export async function findPromtool({ log = () => {}, env = process.env } = {}) {
  if (env.PROMTOOL_BIN) return env.PROMTOOL_BIN;
  const cache = join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'ironflow');
  const kept = join(cache, 'promtool');
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const present = await firstThatRuns([...folders.map((folder) => join(folder, 'promtool')), kept]);
  if (present !== undefined) return present;
  await mkdir(cache, { recursive: true });
  const lock = { folder: join(cache, 'promtool.lock'), waitMs: fetchWaitMs };
  const onWait = () => log('waiting for another process that fetches promtool');
  return withLock(
    { ...lock, onWait },
    async () => (await firstThatRuns([kept])) ?? fetchTo(kept, { log, env }),
  );
}

/** @param {string[]} paths */
async function firstThatRuns(paths) {
  for (const path of paths) {
    if (await runs(path)) return path;
  }
  return undefined;
}

/** @param {string} path */
function runs(path) {
  return run(path, ['--version'], { timeout: 10_000 }).then(
    () => true,
    () => false,
  );
}

/**
 * @param {string} path
 * @param {{ log: (line: string) => void, env: NodeJS.ProcessEnv }} options
 */
async function fetchTo(path, { log, env }) {
  const scratch = `${path}.fetch-${process.pid}`;
  try {
    await mkdir(scratch, { recursive: true });
    log("promtool: trying this machine's Debian mirror");
    const fetched = await fetchFromDebianMirror(
      { scratch, env },
      { packageName: 'promtool', program: 'promtool' },
    );
    if (!(await runs(fetched))) throw new Error('it does not run on this machine');
    await rename(fetched, path);
    return path;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `there is no promtool, and the Debian mirror has none for this machine (${reason}). ` +
        'Install Prometheus so that promtool is on the PATH, or set PROMTOOL_BIN to the program.',
      { cause: error },
    );
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

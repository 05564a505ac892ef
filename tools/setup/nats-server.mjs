// @ts-check
/**
 * Finds the nats-server program, and fetches it when the machine has none. As a command it prints the path:
 * `node tools/setup/nats-server.mjs`. Where it can come from is in nats-server-sources.mjs; the order is decided here:
 * what somebody chose, what is there, and only then what has to be fetched.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { withLock } from './lock-folder.mjs';
import { fetchSources } from './nats-server-sources.mjs';

/** The version that is fetched. */
export const natsServerVersion = '2.15.1';
/** Atomic batches and message schedules came with 2.12. */
export const natsServerVersionMinimum = '2.12.0';

const run = promisify(execFile);
/** Compiling on a small machine is the slowest way to get one, and another process waits that long for it. */
const fetchWaitMs = 10 * 60_000;

/**
 * @typedef {{ path: string, version: string, source: string }} NatsServer
 * @typedef {{ source: string, reason: string }} Attempt
 * @typedef {import('./nats-server-sources.mjs').FetchSource} FetchSource
 */

/**
 * @param {{ log?: (line: string) => void, cacheDir?: string, env?: NodeJS.ProcessEnv, sources?: FetchSource[] }} [options]
 * @returns {Promise<NatsServer>}
 */
export async function findNatsServer({
  log = () => {},
  cacheDir,
  env = process.env,
  sources = fetchSources,
} = {}) {
  const cache = cacheDir ?? join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'ironflow');
  /** @type {Attempt[]} */
  const attempts = [];
  if (env.NATS_SERVER_BIN) return chosen(env.NATS_SERVER_BIN);
  const present =
    (await firstUsable('PATH', onPath(env), attempts)) ??
    (await firstUsable('cache', await cached(cache), attempts));
  for (const { source, reason } of attempts) log(`nats-server of ${source} is not used: ${reason}`);
  if (present !== undefined) return present;

  await mkdir(cache, { recursive: true }).catch((error) => {
    throw new Error(`nats-server cannot be kept in ${cache}: ${error.message}`, { cause: error });
  });
  const lock = { folder: join(cache, 'nats-server.lock'), waitMs: fetchWaitMs };
  const onWait = () => log('waiting for another process that fetches nats-server');
  return withLock({ ...lock, onWait }, async () => {
    const fetchedMeanwhile = await firstUsable('cache', await cached(cache), []);
    return fetchedMeanwhile ?? fetchFirst({ cache, log, env, sources, attempts });
  });
}

/**
 * What somebody chose is used or refused, never replaced by something else.
 * @param {string} path
 * @returns {Promise<NatsServer>}
 */
async function chosen(path) {
  try {
    return { path, version: await checkedVersion(path), source: 'NATS_SERVER_BIN' };
  } catch (error) {
    throw new Error(`NATS_SERVER_BIN: ${path} cannot be used: ${reasonOf(error)}`, { cause: error });
  }
}

/** @param {{ cache: string, log: (line: string) => void, env: NodeJS.ProcessEnv, sources: FetchSource[], attempts: Attempt[] }} options */
async function fetchFirst({ cache, log, env, sources, attempts }) {
  for (const { name, fetch } of sources) {
    const scratch = join(cache, `nats-server.fetch-${process.pid}`);
    try {
      await mkdir(scratch, { recursive: true });
      log(`nats-server: trying ${name}`);
      const fetched = await fetch({ version: natsServerVersion, scratch, env });
      const version = await checkedVersion(fetched);
      // A rename is atomic: whoever looks into the cache meanwhile sees a whole program or none.
      const path = join(cache, `nats-server-${version}`);
      await rename(fetched, path);
      log(`nats-server ${version} from ${name} is now ${path}`);
      return { path, version, source: name };
    } catch (error) {
      attempts.push({ source: name, reason: reasonOf(error) });
      log(`nats-server: ${name} failed: ${reasonOf(error)}`);
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  }
  throw new Error(describeFailure(attempts));
}

/**
 * @param {string} source
 * @param {string[]} candidates
 * @param {Attempt[]} attempts receives why the candidates before the usable one were rejected
 * @returns {Promise<NatsServer | undefined>}
 */
async function firstUsable(source, candidates, attempts) {
  for (const path of candidates) {
    try {
      return { path, version: await checkedVersion(path), source };
    } catch (error) {
      // A PATH has many folders without it; that is not worth a word.
      const isAbsent = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      if (!isAbsent || source !== 'PATH') attempts.push({ source, reason: `${path}: ${reasonOf(error)}` });
    }
  }
  return undefined;
}

/** @param {NodeJS.ProcessEnv} env */
function onPath(env) {
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, 'nats-server'));
}

/**
 * The pinned version first, then the newest: a Debian mirror may have given another one than the pinned.
 * @param {string} cache
 */
async function cached(cache) {
  const names = await readdir(cache).catch(() => /** @type {string[]} */ ([]));
  const versions = names.flatMap((name) => /^nats-server-(\d+\.\d+\.\d+)$/.exec(name)?.[1] ?? []);
  versions.sort((a, b) => Number(b === natsServerVersion) - Number(a === natsServerVersion) || compare(b, a));
  return versions.map((version) => join(cache, `nats-server-${version}`));
}

/**
 * Asks the program itself; a download for another processor or a broken link fails here.
 * @param {string} path
 */
async function checkedVersion(path) {
  const { stdout } = await run(path, ['--version'], { timeout: 10_000 });
  const version = /v?(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  if (version === undefined) throw new Error('its --version names no version');
  if (compare(version, natsServerVersionMinimum) < 0) {
    throw new Error(`version ${version} is older than ${natsServerVersionMinimum}`);
  }
  return version;
}

/**
 * @param {string} a
 * @param {string} b
 */
function compare(a, b) {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  const at = left.findIndex((part, index) => part !== right[index]);
  return at < 0 ? 0 : (left[at] ?? 0) - (right[at] ?? 0);
}

/** @param {unknown} error */
function reasonOf(error) {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error && error.code === 'ENOENT'
    ? 'no such program'
    : (error.message.split('\n')[0] ?? '');
}

/** @param {Attempt[]} attempts */
function describeFailure(attempts) {
  return [
    `no usable nats-server (${natsServerVersionMinimum} or newer) was found, and none could be fetched:`,
    ...attempts.map(({ source, reason }) => `  - ${source}: ${reason}`),
    `Install nats-server ${natsServerVersion} so that it is on the PATH (macOS: brew install nats-server), ` +
      'or set NATS_SERVER_BIN to the program.',
  ].join('\n');
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    const found = await findNatsServer({ log: (line) => process.stderr.write(`${line}\n`) });
    process.stdout.write(`${found.path}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  }
}

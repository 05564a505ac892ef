// @ts-check
/**
 * The three ways to fetch nats-server, best first: the official release (only with a checksum pinned here), compiling
 * it (the module's checksum is verified by go), and the Debian mirror this machine already trusts (signature verified
 * by apt). None needs privileges or changes the machine outside the scratch folder it is given (go keeps its own cache).
 * Each gives the path of a program inside the scratch folder or throws why not.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fetchFromDebianMirror } from './debian-program.mjs';

/**
 * @typedef {{ version: string, scratch: string, env: NodeJS.ProcessEnv }} FetchOptions
 * @typedef {{ name: string, fetch: (options: FetchOptions) => Promise<string> }} FetchSource
 * @typedef {Record<string, Record<string, string>>} Checksums SHA-256 by version and by platform such as `linux-amd64`
 */

const run = promisify(execFile);
const releases = 'https://github.com/nats-io/nats-server/releases/download';
const debian = { packageName: 'nats-server', program: 'nats-server' };
/** A machine that cannot reach the site should learn it at once and go on to the next source. */
const answerWithinMs = 5_000;
const downloadWithinMs = 2 * 60_000;
const archiveBytesMax = 100_000_000;
const compileWithinMs = 8 * 60_000;

/** @type {FetchSource[]} */
export const fetchSources = [
  { name: 'the official release', fetch: (options) => fetchRelease(options) },
  { name: 'go install', fetch: compile },
  { name: "this machine's Debian mirror", fetch: (options) => fetchFromDebianMirror(options, debian) },
];

/**
 * @param {FetchOptions} options
 * @param {{ checksums?: Checksums, site?: string, platform?: string }} [from] other than the official ones, for tests
 */
export async function fetchRelease(
  { version: wanted, scratch },
  { checksums = readPinnedChecksums(), site = releases, platform = thisPlatform() } = {},
) {
  const version = pinnedVersion(checksums, { wanted, platform });
  if (version === undefined) throw new Error(`no pinned checksum for ${wanted} on ${platform}`);
  const expected = checksums[version]?.[platform];

  const name = `nats-server-v${version}-${platform}`;
  const archive = await download(`${site}/v${version}/${name}.tar.gz`);
  const actual = createHash('sha256').update(archive).digest('hex');
  if (actual !== expected) throw new Error(`${name}.tar.gz has the checksum ${actual}, not the pinned one`);

  await writeFile(join(scratch, 'archive.tar.gz'), archive);
  await run('tar', ['-xzf', 'archive.tar.gz', `${name}/nats-server`], { cwd: scratch });
  return join(scratch, name, 'nats-server');
}

/**
 * The wanted version, or else the newest that is pinned for this platform. The pinned checksums are those that the
 * project's own container images verify (nats-io/nats-docker).
 * @param {Checksums} checksums
 * @param {{ wanted: string, platform: string }} of
 */
function pinnedVersion(checksums, { wanted, platform }) {
  if (checksums[wanted]?.[platform] !== undefined) return wanted;
  const pinned = Object.keys(checksums).filter((version) => checksums[version]?.[platform] !== undefined);
  return pinned.sort((a, b) => a.localeCompare(b, undefined, { numeric: true })).at(-1);
}

/** @param {FetchOptions} options */
async function compile({ version, scratch, env }) {
  const target = `github.com/nats-io/nats-server/v2@v${version}`;
  // auto: an older go fetches the one the module asks for. No cgo: then no C compiler is needed either.
  const settings = { ...env, GOBIN: scratch, GOTOOLCHAIN: 'auto', CGO_ENABLED: '0', GOWORK: 'off' };
  try {
    await run('go', ['install', target], { cwd: scratch, env: settings, timeout: compileWithinMs });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      throw new Error('no go on the PATH');
    const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    throw new Error(stderr.split('\n').at(-1) || 'go install failed', { cause: error });
  }
  return join(scratch, 'nats-server');
}

/** @returns {Checksums} */
function readPinnedChecksums() {
  return JSON.parse(readFileSync(new URL('./nats-server-checksums.json', import.meta.url), 'utf8'));
}

function thisPlatform() {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  return `${process.platform}-${arch}`;
}

/** @param {string} url */
async function download(url) {
  const controller = new AbortController();
  const abortAfter = (/** @type {number} */ ms, /** @type {string} */ why) =>
    setTimeout(() => controller.abort(new Error(why)), ms);
  const answerTimer = abortAfter(answerWithinMs, `no answer within ${answerWithinMs / 1000} s`);
  const downloadTimer = abortAfter(downloadWithinMs, `not downloaded within ${downloadWithinMs / 1000} s`);
  try {
    const response = await fetch(url, { signal: controller.signal });
    clearTimeout(answerTimer);
    if (!response.ok || response.body === null) throw new Error(`the site answered ${response.status}`);
    return await readBounded(response.body);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new Error(cause instanceof Error ? cause.message : String(cause), { cause: error });
  } finally {
    clearTimeout(answerTimer);
    clearTimeout(downloadTimer);
  }
}

/** @param {AsyncIterable<Uint8Array>} body */
async function readBounded(body) {
  /** @type {Uint8Array[]} */
  const chunks = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > archiveBytesMax) throw new Error(`the archive is larger than ${archiveBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

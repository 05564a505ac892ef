// @ts-check
/**
 * Takes a program out of a Debian package of the mirror that apt on this machine already uses: same mirror, same
 * keyring, same proxy settings, but lists and cache of its own in the scratch folder. The package is unpacked, never
 * installed, so no privileges are needed and the system's apt is left as it was.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** The stable release's packages are older than what we need; sid is asked only when testing has none that is new enough. */
const suites = ['testing', 'sid'];
const keyrings = ['gpg', 'pgp'].map((type) => `/usr/share/keyrings/debian-archive-keyring.${type}`);
const aptWithinMs = 2 * 60_000;

/**
 * @typedef {{ packageName: string, program: string }} Wanted
 * @param {{ scratch: string, env: NodeJS.ProcessEnv }} options
 * @param {Wanted} wanted
 * @returns {Promise<string>} the path of the program, below `scratch`
 */
export async function fetchFromDebianMirror({ scratch, env }, wanted) {
  const mirror = await findMirror(env);
  const keyring = keyrings.find((path) => existsSync(path));
  if (keyring === undefined) throw new Error('no keyring of the Debian archive');
  const reasons = [];
  for (const suite of suites) {
    try {
      const source = { mirror, keyring, suite };
      return await fetchFromSuite({ scratch: join(scratch, suite), env, source }, wanted);
    } catch (error) {
      reasons.push(`${suite}: ${lastLine(error)}`);
    }
  }
  throw new Error(reasons.join('; '));
}

/**
 * @typedef {{ mirror: string, keyring: string, suite: string }} Source
 * @param {{ scratch: string, env: NodeJS.ProcessEnv, source: Source }} options
 * @param {Wanted} wanted
 */
async function fetchFromSuite({ scratch, env, source }, { packageName, program }) {
  const options = await prepareApt(scratch, source);
  const limits = { cwd: scratch, env: { ...env, LC_ALL: 'C' }, timeout: aptWithinMs };
  await run('apt-get', ['-q', ...options, 'update'], limits);
  await run('apt-get', ['-q', ...options, 'download', packageName], limits);
  const packages = (await readdir(scratch)).filter((name) => name.endsWith('.deb'));
  if (packages[0] === undefined) throw new Error('apt downloaded no package');
  await run('dpkg-deb', ['-x', packages[0], 'unpacked'], limits);
  const found = ['usr/sbin', 'usr/bin']
    .map((folder) => join(scratch, 'unpacked', folder, program))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error(`the package contains no ${program}`);
  return found;
}

/**
 * The first archive apt knows, without the security archive, which has only patches.
 * @param {NodeJS.ProcessEnv} env
 */
async function findMirror(env) {
  const query = ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'];
  const { stdout } = await run('apt-get', query, { env, timeout: 10_000 }).catch((error) => {
    throw new Error(error.code === 'ENOENT' ? 'no apt-get on the PATH' : lastLine(error));
  });
  const mirror = stdout.split('\n').find((uri) => /\/debian\/?$/.test(uri));
  if (mirror === undefined) throw new Error('apt knows no Debian mirror');
  return mirror;
}

/**
 * @param {string} scratch
 * @param {Source} source
 */
async function prepareApt(scratch, { mirror, keyring, suite }) {
  const folders = ['state/lists/partial', 'cache/archives/partial', 'sources.d', 'preferences.d'];
  for (const folder of folders) await mkdir(join(scratch, folder), { recursive: true });
  await writeFile(join(scratch, 'state/status'), '');
  await writeFile(join(scratch, 'sources.list'), `deb [signed-by=${keyring}] ${mirror} ${suite} main\n`);
  return [
    `Dir::State=${scratch}/state`,
    `Dir::State::status=${scratch}/state/status`,
    `Dir::Cache=${scratch}/cache`,
    `Dir::Etc::sourcelist=${scratch}/sources.list`,
    `Dir::Etc::sourceparts=${scratch}/sources.d`,
    `Dir::Etc::preferencesparts=${scratch}/preferences.d`,
    // As root, apt would hand over to a user that cannot write into the scratch folder.
    'APT::Sandbox::User=',
    'Acquire::Languages=none',
    'Acquire::PDiffs=false',
    'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false',
  ].flatMap((option) => ['-o', option]);
}

/** @param {unknown} error */
function lastLine(error) {
  const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
  const message = error instanceof Error ? error.message : String(error);
  return (stderr === '' ? message : stderr).split('\n').at(-1) ?? message;
}

// @ts-check
/**
 * Makes a clean clone usable: installs the dependencies when those in node_modules are not the ones of the lock file.
 * Silent and quick when there is nothing to do, so every command may start with it.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from './lock-folder.mjs';

const workspaceRoot = fileURLToPath(new URL('../..', import.meta.url));
const nodeMinimum = [20, 19];
/** An installation over a slow line takes minutes; another process waits that long for it. */
const installWaitMs = 15 * 60_000;

/**
 * @param {{ root?: string, log?: (line: string) => void }} [options]
 * @returns {Promise<'present' | 'adopted' | 'installed'>}
 */
export async function install({
  root = workspaceRoot,
  log = (line) => process.stderr.write(`${line}\n`),
} = {}) {
  // First of all: what is there may have been installed with another node.
  checkNode();
  const stamp = join(root, 'node_modules/.ironflow-install');
  const wanted = createHash('sha256').update(readLock(root)).digest('hex');
  const isPresent = () => readOrEmpty(stamp) === wanted;
  if (isPresent()) return 'present';

  // Beside the stamp: npm leaves alone what begins with a dot.
  const folder = join(root, 'node_modules/.ironflow-install.lock');
  const onWait = () => log('waiting for another process that installs the dependencies');
  return withLock({ folder, waitMs: installWaitMs, onWait }, async () => {
    if (isPresent()) return 'present';
    if (isInstalledByHand(root)) {
      writeFileSync(stamp, wanted);
      return 'adopted';
    }
    log('installing the dependencies of package-lock.json: npm install --no-save');
    const startedAt = Date.now();
    await runNpmInstall(root);
    writeFileSync(stamp, wanted);
    log(`installed in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
    return 'installed';
  });
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [majorMinimum = 0, minorMinimum = 0] = nodeMinimum;
  if (major > majorMinimum || (major === majorMinimum && minor >= minorMinimum)) return;
  throw new Error(`Node ${nodeMinimum.join('.')} or newer is needed; this is ${process.versions.node}`);
}

/** @param {string} root */
function readLock(root) {
  try {
    return readFileSync(join(root, 'package-lock.json'));
  } catch (error) {
    throw new Error(`cannot read package-lock.json in ${root}; is this a complete clone?`, { cause: error });
  }
}

/**
 * Whether somebody ran npm themselves: npm notes what it put into node_modules in a lock file of its own. Optional
 * packages may be missing there, for those of other machines are never installed.
 * @param {string} root
 */
function isInstalledByHand(root) {
  const present = readPackages(join(root, 'node_modules/.package-lock.json'));
  const wanted = readPackages(join(root, 'package-lock.json'));
  if (present === undefined || wanted === undefined) return false;
  const isSame = (/** @type {string} */ path) => present[path]?.version === wanted[path]?.version;
  return (
    Object.keys(present).every((path) => path in wanted && isSame(path)) &&
    Object.entries(wanted).every(([path, entry]) => {
      // The root and the workspaces are our own folders, not installed packages.
      if (!path.includes('node_modules/') || entry.optional || entry.devOptional || entry.peer) return true;
      return path in present;
    })
  );
}

/**
 * @typedef {{ version?: string, optional?: boolean, devOptional?: boolean, peer?: boolean }} LockEntry
 * @param {string} path
 * @returns {Record<string, LockEntry> | undefined}
 */
function readPackages(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

/** @param {string} path */
function readOrEmpty(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/**
 * npm's own output goes to standard error: standard output belongs to the command that needed the installation.
 * @param {string} root
 * @returns {Promise<void>}
 */
function runNpmInstall(root) {
  return new Promise((resolve, reject) => {
    // Not `npm ci`: it refuses a lock file without the optional packages of every other platform, which a registry mirror
    // need not have. This installs what the lock says all the same, and writes neither it nor package.json.
    const args = ['install', '--no-save', '--no-audit', '--no-fund'];
    const child = spawn('npm', args, { cwd: root, stdio: ['ignore', 2, 2] });
    child.once('error', (error) => reject(new Error(`npm could not be started: ${error.message}`)));
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`npm install failed (${signal ?? `exit code ${code}`}); its output is above`));
    });
  });
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    await install();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  }
}

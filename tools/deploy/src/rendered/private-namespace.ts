/**
 * A process of its own network, mounts and processes: this program starts itself anew in one. Whatever ends it ends everything that it
 * has started, and its addresses and mounts are gone with it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { firstChildOf } from './first-child.js';

const mark = 'IRONFLOW_PRIVATE_NAMESPACE';
const namespaces = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];

export function isInPrivateNamespace(): boolean {
  return process.env[mark] !== undefined;
}

/** Why it cannot be had here; undefined if it can. */
export function obstacleToNamespaces(): string | undefined {
  if (process.platform !== 'linux') return 'containers are run as they are on Linux alone';
  if (process.getuid?.() !== 0) {
    return 'making networks and read-only root folders of pods needs root: run it as root, in a container if need be';
  }
  const missing = ['unshare', 'nsenter', 'setpriv', 'chroot', 'ip'].filter((name) => !isThere(name));
  if (missing.length > 0) return `${missing.join(', ')} must be there (util-linux, coreutils, iproute2)`;
  const { status, stderr } = spawnSync('unshare', [...namespaces, 'true'], { encoding: 'utf8' });
  return status === 0 ? undefined : `this machine allows no namespaces: ${stderr.trim()}`;
}

function isThere(program: string): boolean {
  return spawnSync(program, ['--help'], { stdio: 'ignore' }).error === undefined;
}

/** Resolves with the exit code of the program's second self. */
export async function runInPrivateNamespace(args: readonly string[]): Promise<number> {
  const [program = ''] = process.argv.slice(1);
  const child = spawn('unshare', [...namespaces, process.execPath, program, ...args], {
    stdio: 'inherit',
    env: { ...process.env, [mark]: '1' },
  });
  // Ctrl-C reaches both; a signal to this one alone is passed on.
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      const self = firstChildOf(child.pid ?? 0);
      if (self !== undefined) process.kill(self, signal);
    });
  }
  process.on('SIGINT', () => undefined);
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  return code ?? 128 + constants.signals[signal!];
}

/**
 * How a server is started so that it dies with us and, where it insists (PostgreSQL), not as root. It is a prefix to
 * the command line, made of what util-linux offers; each candidate is tried once, the best that works is kept.
 *
 * - `setpriv --pdeathsig` lets the kernel signal the server when our process ends in any way, kill -9 included.
 *   Where it is missing (macOS), a killed parent leaves the server behind, and the next start deals with it.
 * - `unshare --map-user` gives root's process another user id inside a user namespace. Files stay root's, folders that
 *   only root may enter stay reachable, and no account is needed. Where namespaces are forbidden (most containers),
 *   user 65534 is used; it keeps the one capability it needs to reach those folders.
 */
import { spawnSync } from 'node:child_process';

export interface LaunchPrefix {
  command: readonly string[];
  /** The user that must own the server's files, when it is not the one we run as. */
  ownerId?: number;
}

export interface LaunchPrefixOptions {
  /** What the server gets when we are gone, such as `INT`. */
  deathSignal: 'INT' | 'TERM';
  /** PostgreSQL refuses to run as root. */
  leaveRoot: boolean;
}

const nobodyId = 65534;
const found = new Map<string, LaunchPrefix>();

export function launchPrefix({ deathSignal, leaveRoot }: LaunchPrefixOptions): LaunchPrefix {
  const mustLeave = leaveRoot && process.getuid?.() === 0;
  const key = `${deathSignal} ${mustLeave}`;
  const known = found.get(key);
  if (known !== undefined) return known;
  const prefix = candidates(deathSignal, mustLeave).find(works);
  if (prefix === undefined) {
    throw new Error(
      'PostgreSQL does not run as root, and neither unshare nor setpriv works here; use another user',
    );
  }
  found.set(key, prefix);
  return prefix;
}

function candidates(deathSignal: string, mustLeave: boolean): LaunchPrefix[] {
  const followUs = ['setpriv', '--pdeathsig', deathSignal, '--'];
  if (!mustLeave) return [{ command: followUs }, { command: [] }];
  const namespace = ['unshare', '--user', '--map-user=1000', '--map-group=1000', '--'];
  const asNobody = ['setpriv', `--reuid=${nobodyId}`, `--regid=${nobodyId}`, '--clear-groups'];
  const reachAll = ['--inh-caps=+dac_override', '--ambient-caps=+dac_override'];
  return [
    // Entering a namespace clears the death signal, so it is set inside.
    { command: [...namespace, ...followUs] },
    { command: namespace },
    { command: [...asNobody, ...reachAll, '--pdeathsig', deathSignal, '--'], ownerId: nobodyId },
    { command: [...asNobody, '--pdeathsig', deathSignal, '--'], ownerId: nobodyId },
    { command: [...asNobody, '--'], ownerId: nobodyId },
  ];
}

function works({ command }: LaunchPrefix): boolean {
  const [program, ...args] = [...command, 'true'];
  return program !== undefined && spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

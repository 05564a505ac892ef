/** `unshare` stays as the parent of what it starts in new namespaces: that child is what signals are for. */
import { readFileSync } from 'node:fs';

/** Its process id here; undefined while there is none. */
export function firstChildOf(pid: number): number | undefined {
  try {
    const [child = ''] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
    return child === '' ? undefined : Number(child);
  } catch {
    return undefined;
  }
}

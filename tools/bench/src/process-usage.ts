/** CPU and memory of processes, from /proc. */
import { readdir, readFile } from 'node:fs/promises';

export interface Usage {
  cpuSeconds: number;
  rssMegabytes: number;
}

const ticksPerSecond = 100;
const pageBytes = 4_096;

/** Of a process; with everything it has started if `withChildren`. */
export async function usageOf(pid: number, { withChildren }: { withChildren: boolean }): Promise<Usage> {
  const tree = withChildren ? await treeOf(pid) : [pid];
  const usages = await Promise.all(tree.map(usageOfOne));
  return {
    cpuSeconds: usages.reduce((sum, usage) => sum + usage.cpuSeconds, 0),
    rssMegabytes: usages.reduce((sum, usage) => sum + usage.rssMegabytes, 0),
  };
}

async function treeOf(root: number): Promise<number[]> {
  const parents = await parentsOfAll();
  const tree = new Set([root]);
  for (let size = 0; size < tree.size;) {
    size = tree.size;
    for (const [child, parent] of parents) if (tree.has(parent)) tree.add(child);
  }
  return [...tree];
}

async function usageOfOne(pid: number): Promise<Usage> {
  try {
    const [stat, statm] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile(`/proc/${pid}/statm`, 'utf8'),
    ]);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [, resident, shared] = statm.split(' ').map(Number);
    return {
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
      // Without shared pages, which Postgres' processes would each count again.
      rssMegabytes: ((resident! - shared!) * pageBytes) / 2 ** 20,
    };
  } catch {
    return { cpuSeconds: 0, rssMegabytes: 0 };
  }
}

async function parentsOfAll(): Promise<Map<number, number>> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => undefined);
    if (stat !== undefined)
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  return parents;
}

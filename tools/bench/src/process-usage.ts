/** CPU and memory of processes, from /proc. */
import { readdir, readFile } from 'node:fs/promises';

export interface Usage {
  /** With that of children that have ended. */
  cpuSeconds: number;
  /** Everything resident: what processes share counts for each of them. */
  rssMegabytes: number;
  /** What is shared is divided among those that share it, so that sums are true. 0 where the kernel does not tell. */
  pssMegabytes: number;
}

const ticksPerSecond = 100;

/** Of a process; with everything it has started if `withChildren`. */
export async function usageOf(pid: number, { withChildren }: { withChildren: boolean }): Promise<Usage> {
  const tree = withChildren ? await treeOf(pid) : [pid];
  const usages = await Promise.all(tree.map(usageOfOne));
  const sum = (of: keyof Usage): number => usages.reduce((total, usage) => total + usage[of], 0);
  return {
    cpuSeconds: sum('cpuSeconds'),
    rssMegabytes: sum('rssMegabytes'),
    pssMegabytes: sum('pssMegabytes'),
  };
}

/** The most that was ever resident. */
export async function peakMegabytesOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Math.round(kilobytesIn(status, /^VmHWM:\s+(\d+)/m) / 1_024);
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
  const read = (file: string): Promise<string> => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
  const [stat, status, rollup] = await Promise.all([read('stat'), read('status'), read('smaps_rollup')]);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // Its own time in user and system mode, and that of children that have ended and were collected.
  const ticks = [11, 12, 13, 14].reduce((total, field) => total + Number(fields[field] ?? 0), 0);
  return {
    cpuSeconds: ticks / ticksPerSecond,
    rssMegabytes: kilobytesIn(status, /^VmRSS:\s+(\d+)/m) / 1_024,
    pssMegabytes: kilobytesIn(rollup, /^Pss:\s+(\d+)/m) / 1_024,
  };
}

function kilobytesIn(text: string, line: RegExp): number {
  return Number(line.exec(text)?.[1] ?? 0);
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

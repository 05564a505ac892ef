/** How many were at work at once for each key, from what the functions wrote into the ledger. Pure. */
import type { LedgerLine } from './ledger.js';

/** A process that was killed: what it worked on was over then, at the latest. */
export interface Kill {
  what: string;
  pid: number;
  atMs: number;
}

export interface Work {
  run: string;
  key: string;
  fromMs: number;
  /** Infinity: its process lives, and it has never ended. */
  untilMs: number;
}

export interface Overlap {
  key: string;
  fromMs: number;
  forMs: number;
  most: number;
  /** Runs whose code was at work twice: the sign of a takeover. */
  twice: number;
  /** What was killed last before it, and how long before. */
  after: string;
}

export interface Overlaps {
  works: number;
  neverEnded: number;
  /** How many keys had so many at once at most. */
  keysByMost: Record<number, number>;
  overlaps: Overlap[];
}

export function worksOf(lines: readonly LedgerLine[], kills: readonly Kill[]): Work[] {
  const killedAtMs = new Map(kills.map(({ pid, atMs }) => [pid, atMs]));
  const open = new Map<string, Work[]>();
  const works: Work[] = [];
  for (const { what, run, step, attempt, key, pid, atMs } of lines) {
    if (key === undefined || pid === undefined) continue;
    const name = `${pid} ${run} ${step} ${attempt}`;
    if (what === 'begun') {
      const work = { run, key, fromMs: atMs, untilMs: killedAtMs.get(pid) ?? Infinity };
      works.push(work);
      open.set(name, [...(open.get(name) ?? []), work]);
    } else if (what === 'ended' || what === 'stopped') {
      const work = open.get(name)?.shift();
      if (work !== undefined) work.untilMs = atMs;
    }
  }
  return works;
}

export function findOverlaps(works: readonly Work[], kills: readonly Kill[], limit: number): Overlaps {
  const byKey = new Map<string, Work[]>();
  for (const work of works) {
    const ofKey = byKey.get(work.key);
    if (ofKey === undefined) byKey.set(work.key, [work]);
    else ofKey.push(work);
  }
  const keysByMost: Record<number, number> = {};
  const overlaps: Overlap[] = [];
  for (const ofKey of byKey.values()) {
    const found = sweep(ofKey, kills, limit);
    keysByMost[found.most] = (keysByMost[found.most] ?? 0) + 1;
    overlaps.push(...found.overlaps);
  }
  const neverEnded = works.filter(({ untilMs }) => untilMs === Infinity).length;
  return { works: works.length, neverEnded, keysByMost, overlaps };
}

/** What ends in the same millisecond was over before. */
function sweep(works: readonly Work[], kills: readonly Kill[], limit: number) {
  const changes = works
    .filter(({ fromMs, untilMs }) => fromMs < untilMs)
    .flatMap((work) => [
      { atMs: work.fromMs, work, begins: true },
      { atMs: work.untilMs, work, begins: false },
    ])
    .sort((a, b) => (a.atMs === b.atMs ? Number(a.begins) - Number(b.begins) : a.atMs - b.atMs));
  const active = new Set<Work>();
  const overlaps: Overlap[] = [];
  let most = 0;
  let current: Overlap | undefined;
  for (const { atMs, work, begins } of changes) {
    if (begins) active.add(work);
    else active.delete(work);
    most = Math.max(most, active.size);
    if (active.size <= limit) {
      if (current !== undefined) current.forMs = atMs - current.fromMs;
      current = undefined;
      continue;
    }
    if (current === undefined) {
      current = {
        key: work.key,
        fromMs: atMs,
        forMs: Infinity,
        most: 0,
        twice: 0,
        after: lastKill(kills, atMs),
      };
      overlaps.push(current);
    }
    current.most = Math.max(current.most, active.size);
    current.twice = Math.max(current.twice, active.size - new Set([...active].map(({ run }) => run)).size);
  }
  return { most, overlaps };
}

function lastKill(kills: readonly Kill[], atMs: number): string {
  const last = kills.filter((kill) => kill.atMs <= atMs).sort((a, b) => b.atMs - a.atMs)[0];
  return last === undefined ? 'nothing was killed before' : `${last.what}, ${atMs - last.atMs} ms before`;
}

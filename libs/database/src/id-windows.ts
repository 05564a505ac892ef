/**
 * Where in the time-ordered ids to look. Runs have the time bits of their event's id, so the runs of events
 * are found in the same milliseconds, without an index by event; and bounds on an id let PostgreSQL leave out
 * partitions. Pure.
 */
import { idTimeMs, lowestIdAt } from '@ironflow/schema';

/** From `lowest` inclusive to `end` exclusive. */
export interface IdWindow {
  lowest: string;
  end: string;
}

/** The milliseconds of these ids, neighbouring ones joined, in order. */
export function windowsAround(ids: readonly string[]): IdWindow[] {
  const times = [...new Set(ids.map(idTimeMs))].sort((a, b) => a - b);
  const spans: { firstMs: number; lastMs: number }[] = [];
  for (const timeMs of times) {
    const last = spans.at(-1);
    if (last !== undefined && timeMs === last.lastMs + 1) last.lastMs = timeMs;
    else spans.push({ firstMs: timeMs, lastMs: timeMs });
  }
  return spans.map(({ firstMs, lastMs }) => ({ lowest: lowestIdAt(firstMs), end: endOf(lastMs) }));
}

/** An id has 48 bits of time. */
const timeMsMax = 2 ** 48 - 1;

function endOf(lastMs: number): string {
  return lastMs < timeMsMax ? lowestIdAt(lastMs + 1) : highestId;
}

/** What lies in both; possibly nothing. */
export function intersect(a: IdWindow, b: IdWindow): IdWindow {
  return { lowest: a.lowest > b.lowest ? a.lowest : b.lowest, end: a.end < b.end ? a.end : b.end };
}

/** The lowest and the highest of some ids, both inclusive; for none, bounds that nothing lies between. */
export function boundsOf(ids: readonly string[]): { lowest: string; highest: string } {
  let lowest = ids[0] ?? highestId;
  let highest = ids[0] ?? lowestId;
  for (const id of ids) {
    if (id < lowest) lowest = id;
    if (id > highest) highest = id;
  }
  return { lowest, highest };
}

export const lowestId = '00000000-0000-0000-0000-000000000000';
export const highestId = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

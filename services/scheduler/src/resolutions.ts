/** Resolutions of waits, brought to Postgres: in transactions of bounded size, and so that an event goes to one wait of a run. */
import type { OpenWait, Resolution, WaitStore } from '@ironflow/database';
import type { Admission } from './admission.js';
import type { PauseSpans } from './pause-spans.js';

/** Answers the keys of the waits that were resolved by it. */
export type Apply = (resolutions: readonly Resolution[]) => Promise<ReadonlySet<string>>;

/** Of what is written in one transaction. */
const chunkBytesMax = 4 * 1024 * 1024;

export interface ResolutionsOptions {
  store: Pick<WaitStore, 'resolveWaits'>;
  admission: Pick<Admission, 'admit'>;
  recordPauses: PauseSpans;
}

export async function applyResolutions(
  { store, admission, recordPauses }: ResolutionsOptions,
  resolutions: readonly Resolution[],
): Promise<ReadonlySet<string>> {
  const keys = new Set<string>();
  for (const chunk of chunksOf(resolutions)) {
    const { resolved, woken, ended } = await store.resolveWaits(chunk);
    if (woken.length > 0) void admission.admit(woken, { replacing: true });
    recordPauses(ended);
    for (const one of resolved) keys.add(keyOf(one));
  }
  return keys;
}

/** A wait that somebody else has just resolved, or that can never be, leaves the event to the next one of its run. */
export async function resolveFirstOfEachRun(resolutions: readonly Resolution[], apply: Apply): Promise<void> {
  for (let left = resolutions; left.length > 0;) {
    const firsts = new Set(firstOfEachRun(left));
    const resolved = await apply([...firsts]);
    const took = (one: Resolution): boolean => one.eventId !== undefined && resolved.has(keyOf(one));
    const served = new Set([...firsts].filter(took).map(({ runId }) => runId));
    left = left.filter((one) => !firsts.has(one) && !served.has(one.runId));
  }
}

export function keyOf({ runId, stepId }: Pick<OpenWait, 'runId' | 'stepId'>): string {
  return `${runId} ${stepId}`;
}

/** One large event may resolve many waits, and each is given all of it. */
function chunksOf(resolutions: readonly Resolution[]): Resolution[][] {
  const chunks: Resolution[][] = [];
  let bytes = Infinity;
  for (const resolution of resolutions) {
    bytes += resolution.output?.length ?? 0;
    if (bytes > chunkBytesMax) {
      chunks.push([]);
      bytes = resolution.output?.length ?? 0;
    }
    chunks.at(-1)!.push(resolution);
  }
  return chunks;
}

function firstOfEachRun(resolutions: readonly Resolution[]): Resolution[] {
  const runs = new Map<string, Resolution>();
  for (const resolution of resolutions) {
    if (!runs.has(resolution.runId)) runs.set(resolution.runId, resolution);
  }
  return [...runs.values()];
}

/** A run that is pinned stays with its build from its first record on. Pure. */
import type { Facts, Violation } from '../facts.js';
import { roundingMs } from './rounding.js';

/** Of runs that are younger than the last wipe, which may take what pinned them. */
export function checkPinned({ runs, ledger, journal }: Facts): Violation[] {
  const pinnedFromMs = new Map<string, number>();
  for (const [key, atMs] of journal) {
    const [runId] = key.split(' ') as [string];
    pinnedFromMs.set(runId, Math.min(atMs, pinnedFromMs.get(runId) ?? atMs));
  }
  const builds = new Map(runs.map(({ id, buildId }) => [id, buildId]));
  return ledger.flatMap(({ what, run, step, atMs, build }) => {
    const pinnedTo = builds.get(run) ?? null;
    const fromMs = pinnedFromMs.get(run) ?? Number.POSITIVE_INFINITY;
    if (what !== 'begun' || pinnedTo === null || build === pinnedTo || atMs <= fromMs + roundingMs) return [];
    const evidence = `run ${run}, ${step} at ${atMs} by ${build ?? 'no build'}, pinned to ${pinnedTo}`;
    return [{ rule: 'a pinned run was executed by another build', evidence }];
  });
}

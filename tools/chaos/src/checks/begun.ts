import type { LedgerLine } from '@ironflow/bench';

/** When each run's code first did anything, as it saw it itself. */
export function firstBegun(ledger: readonly LedgerLine[]): Map<string, number> {
  const begunMs = new Map<string, number>();
  for (const { what, run, atMs } of ledger) {
    if (what !== 'begun' && what !== 'fired' && what !== 'called') continue;
    begunMs.set(run, Math.min(atMs, begunMs.get(run) ?? Infinity));
  }
  return begunMs;
}

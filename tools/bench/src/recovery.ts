/** How long the steps that were under way when something was killed waited until their next attempt began. */
import type { Database } from '@ironflow/database';
import { pullFunction, pushFunction } from './fault-functions.js';
import { stepKey } from './ledger.js';
import type { LedgerLine, StoredTimes } from './ledger.js';
import { quantile } from './load.js';

export interface Recovery {
  /** Runs with a step that began before the fault and again after it. */
  runs: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

export type Recoveries = Record<'pull' | 'push', Recovery>;

/**
 * Pure. Of each step that had begun and was not stored when the fault struck, the time until it began again; those that
 * somebody else drove on did not, and do not count.
 */
export function recoveryTimes(
  lines: readonly LedgerLine[],
  storedAtMs: StoredTimes,
  struckAtMs: number,
): Map<string, number> {
  const underWay = new Set<string>();
  const times = new Map<string, number>();
  for (const { what, run, step, atMs } of [...lines].sort((a, b) => a.atMs - b.atMs)) {
    if (what !== 'begun') continue;
    const key = stepKey(run, step);
    if (atMs <= struckAtMs) {
      if ((storedAtMs.get(key) ?? Infinity) > struckAtMs) underWay.add(key);
    } else if (underWay.delete(key)) {
      // A run that had several steps under way is back with the first of them.
      times.set(run, Math.min(times.get(run) ?? Infinity, atMs - struckAtMs));
    }
  }
  return times;
}

export async function measureRecovery(
  database: Pick<Database, 'query'>,
  times: Map<string, number>,
): Promise<Recoveries> {
  const rows = await database.query<{ id: string; function: string }>(
    {
      name: 'faults_functions',
      text: `select id, function_id as function from runs where id = any($1::uuid[])`,
    },
    [[...times.keys()]],
  );
  const of = (functionId: string): Recovery => {
    const own = rows.filter((row) => row.function === functionId).map(({ id }) => times.get(id)!);
    own.sort((a, b) => a - b);
    return {
      runs: own.length,
      p50Ms: quantile(own, 0.5),
      p99Ms: quantile(own, 0.99),
      maxMs: own.at(-1) ?? 0,
    };
  };
  return { pull: of(pullFunction), push: of(pushFunction) };
}

/** What is promised, against what was measured; a measurement of too few says nothing. */
export function missedGoals(
  recoveries: Recoveries,
  { withinMs, of }: { withinMs: number; of: readonly ('pull' | 'push')[] },
  runsMin: number,
): string[] {
  return of.flatMap((mode) => {
    const { runs, maxMs } = recoveries[mode];
    if (runs < runsMin) return [`${mode}: only ${runs} runs had a step under way, ${runsMin} were wanted`];
    return maxMs > withinMs
      ? [`${mode}: a step began again after ${maxMs} ms, promised are ${withinMs} ms`]
      : [];
  });
}

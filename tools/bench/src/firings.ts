/** Whether a schedule of every second fired as it should, from what its runs wrote into the ledger. */
import type { LedgerLine } from './ledger.js';

/** A schedule that is registered, or one that is read, is a little late. */
const firingSlackMs = 3_000;

/** Pure. Each second once, from the schedule's registration until now: no time twice, and none left out. */
export function checkFirings(
  lines: LedgerLine[],
  { fromMs, nowMs }: { fromMs: number; nowMs: number },
): { fired: number; failures: string[] } {
  const runsAt = new Map<string, Set<string>>();
  for (const { what, step, run } of lines) {
    if (what === 'fired') runsAt.set(step, (runsAt.get(step) ?? new Set()).add(run));
  }
  const times = [...runsAt.keys()].map((time) => Date.parse(time)).sort((a, b) => a - b);
  const [first, last] = [times[0], times.at(-1)];
  if (first === undefined || last === undefined) return { fired: 0, failures: ['cron: nothing fired'] };
  const twice = [...runsAt.values()].filter((runs) => runs.size > 1).length;
  const missing = (last - first) / 1_000 + 1 - times.length;
  const failures = [
    ...(twice > 0 ? [`cron: ${twice} times fired twice`] : []),
    ...(missing > 0 ? [`cron: ${missing} times did not fire`] : []),
    ...(first - fromMs > firingSlackMs ? [`cron: the first firing came ${first - fromMs} ms late`] : []),
    ...(nowMs - last > firingSlackMs ? [`cron: nothing fired for the last ${nowMs - last} ms`] : []),
  ];
  return { fired: times.length, failures };
}

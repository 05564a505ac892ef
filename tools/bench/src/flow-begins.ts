/** When the runs of a throttle began, as their functions noted it, beside the times for which they were let in. Pure. */
import { fullestPeriod, mostWithin } from './flow-rates.js';
import { quantile } from './load.js';

export interface BeginsVerdict {
  /** Of the times for which runs were let in, in a period. */
  mostLetInInPeriod: number;
  begun: number;
  /** Of the beginnings, in a period. */
  mostBegunInPeriod: number;
  /** How long after the times for which they were let in those of that period began. */
  lateMsThen: { least: number; most: number };
  /** The same of all. */
  lateMs: { p50: number; p99: number; most: number };
  /** Beginnings after one that was to come later. */
  overtaken: number;
  overtakenMsMost: number;
}

export function judgeBegins(of: {
  /** The runs of each key, in the order of the queue. */
  places: readonly string[][];
  letInMs: ReadonlyMap<string, number>;
  begunMs: ReadonlyMap<string, number>;
  periodMs: number;
}): BeginsVerdict {
  const { places, letInMs, begunMs, periodMs } = of;
  const verdict = { mostLetInInPeriod: 0, begun: 0, mostBegunInPeriod: 0, overtaken: 0, overtakenMsMost: 0 };
  const lateness: number[] = [];
  let lateThen: number[] = [];
  for (const runs of places) {
    const begins = runs.flatMap((run) => {
      const atMs = begunMs.get(run);
      return atMs === undefined ? [] : { atMs, lateMs: atMs - (letInMs.get(run) ?? atMs) };
    });
    const times = begins.map(({ atMs }) => atMs);
    const letIn = runs.flatMap((run) => letInMs.get(run) ?? []);
    const fullest = fullestPeriod(times, periodMs);
    if (fullest.length > verdict.mostBegunInPeriod) {
      verdict.mostBegunInPeriod = fullest.length;
      const [firstMs, lastMs] = [fullest[0]!, fullest.at(-1)!];
      lateThen = begins.filter(({ atMs }) => atMs >= firstMs && atMs <= lastMs).map(({ lateMs }) => lateMs);
    }
    const { count, mostMs } = overtaken(times);
    verdict.mostLetInInPeriod = Math.max(verdict.mostLetInInPeriod, mostWithin(letIn, periodMs));
    verdict.begun += begins.length;
    verdict.overtaken += count;
    verdict.overtakenMsMost = Math.max(verdict.overtakenMsMost, mostMs);
    lateness.push(...begins.map(({ lateMs }) => lateMs));
  }
  const [then, all] = [ascending(lateThen), ascending(lateness)];
  return {
    ...verdict,
    lateMsThen: { least: quantile(then, 0), most: quantile(then, 1) },
    lateMs: { p50: quantile(all, 0.5), p99: quantile(all, 0.99), most: quantile(all, 1) },
  };
}

/** Of beginnings in the order in which they should have come: how many came after one behind them, and by how much at most. */
function overtaken(begunMs: readonly number[]): { count: number; mostMs: number } {
  let count = 0;
  let mostMs = 0;
  let earliestBehindMs = Infinity;
  for (const beganMs of [...begunMs].reverse()) {
    if (beganMs > earliestBehindMs) count += 1;
    mostMs = Math.max(mostMs, beganMs - earliestBehindMs);
    earliestBehindMs = Math.min(earliestBehindMs, beganMs);
  }
  return { count, mostMs };
}

function ascending(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b);
}

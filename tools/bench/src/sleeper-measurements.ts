/** What sleeping runs cost: how late they wake, and what those that go on sleeping take from others. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Database } from '@ironflow/database';
import type { Measurement, Meter } from './meter.js';
import type { Usage } from './process-usage.js';
import { problemsOfTimers, putToSleep, readLateness, removeSleepers } from './sleepers.js';
import type { TimerLateness } from './sleepers.js';
import type { Workload } from './workloads.js';

export interface Bench {
  target: { urls: string[]; apiKey: string };
  database: Database;
  meter: Meter;
}

/** Goal: woken within this of the due time, at the 99th percentile; none early. */
const goalP99Ms = 50;
const timersWithinMs = 5_000;
const endedWithinMs = 120_000;

export interface TimersReport extends TimerLateness {
  withinMs: number;
  goal: { firedP99Ms: number; met: boolean };
  problems: string[];
}

/** So many timers, evenly within five seconds; the first is due when all of them are expected to sleep. */
export async function measureTimers(
  { target, database }: Bench,
  { count, leadSeconds }: { count: number; leadSeconds: number },
): Promise<TimersReport> {
  const dueMs = Date.now() + leadSeconds * 1_000;
  await putToSleep({
    ...target,
    database,
    count,
    untilMs: (n) => Math.round(dueMs + (n / count) * timersWithinMs),
    asleepWithinMs: leadSeconds * 1_000,
  });
  // A server that has run for long has files for its log; a new one makes each as it is needed, which costs every commit 100 ms.
  await database.query({ name: 'bench_checkpoint', text: 'checkpoint' }, []);
  // They sleep, so the figures are those of timers alone.
  const lateness = await readLateness(database, {
    count,
    endedWithinMs: dueMs + timersWithinMs + endedWithinMs - Date.now(),
  });
  await removeSleepers(database);
  return {
    ...lateness,
    withinMs: timersWithinMs,
    goal: { firedP99Ms: goalP99Ms, met: lateness.fired.p99Ms <= goalP99Ms },
    problems: problemsOfTimers(lateness),
  };
}

export interface SleepersReport {
  sleeping: number;
  /** Without them, with them, and without them again. */
  without: Measurement;
  with: Measurement;
  withoutAgain: Measurement;
  /** CPU of each process in percent of a core while nothing but them is there. */
  idleCpuPercent: Record<string, number>;
}

const settleMs = 10_000;
const dayMs = 86_400_000;

export async function measureSleepers(
  { target, database, meter }: Bench,
  workload: Workload,
  { count, seconds, asleepWithinMs }: { count: number; seconds: number; asleepWithinMs: number },
): Promise<SleepersReport> {
  const without = await meter.measure(workload, seconds);
  const untilMs = Date.now() + dayMs;
  await putToSleep({ ...target, database, count, untilMs: (n) => untilMs + n, asleepWithinMs });
  await pause(settleMs);
  const idle = await meter.idle(seconds);
  const withThem = await meter.measure(workload, seconds);
  await removeSleepers(database);
  await pause(settleMs);
  const withoutAgain = await meter.measure(workload, seconds);
  return { sleeping: count, without, with: withThem, withoutAgain, idleCpuPercent: percentOf(idle, seconds) };
}

function percentOf(usages: Record<string, Usage>, seconds: number): Record<string, number> {
  return Object.fromEntries(
    Object.entries(usages).map(([name, { cpuSeconds }]) => [
      name,
      Math.round((cpuSeconds / seconds) * 1_000) / 10,
    ]),
  );
}

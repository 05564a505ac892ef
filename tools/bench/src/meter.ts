/** Runs workloads and keeps what they took: rates, latencies, CPU and memory of every process, and what was answered in all. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Platform } from '@ironflow/platform';
import type { Child } from './children.js';
import type { LoadResult } from './load.js';
import { usageOf } from './process-usage.js';
import type { Usage } from './process-usage.js';
import type { Answered } from './verification.js';
import type { Workload } from './workloads.js';

export interface Measurement extends Omit<LoadResult, 'perSecond' | 'requests'> {
  workload: string;
  clients: number;
  runsPerSecond?: number;
  eventsPerSecond?: number;
  processes: Record<string, Usage>;
}

export interface Meter {
  /** Of everything that ran, warm-ups included. */
  readonly answered: Answered;
  /** Workloads that measured nothing. */
  readonly problems: string[];
  warmUp(workload: Workload, seconds: number): Promise<void>;
  measure(workload: Workload, seconds: number): Promise<Measurement>;
  /** What every process takes while nothing is asked of it. */
  idle(seconds: number): Promise<Record<string, Usage>>;
}

export interface MeterOptions {
  platform: Platform;
  children: Record<string, Child>;
  say: (line: string) => void;
}

export function createMeter({ platform, children, say }: MeterOptions): Meter {
  const answered: Answered = { requests: 0, failures: 0, runs: 0, storedEvents: 0 };
  const problems: string[] = [];
  const run = async (workload: Workload, seconds: number): Promise<LoadResult> => {
    const result = await workload.run(seconds);
    const succeeded = result.requests - result.failures;
    answered.requests += result.requests;
    answered.failures += result.failures;
    if (workload.eventsPerRequest === undefined) answered.runs += succeeded;
    else answered.storedEvents += succeeded * workload.eventsPerRequest;
    if (succeeded === 0) problems.push(`${workload.name}, ${workload.clients} clients: nothing was answered`);
    return result;
  };
  return {
    answered,
    problems,
    idle: async (seconds) => {
      const pids = pidsOf(platform, children);
      const before = await usagesOf(pids);
      await pause(seconds * 1_000);
      return difference(before, await usagesOf(pids));
    },
    warmUp: async (workload, seconds) => void (await run(workload, seconds)),
    measure: async (workload, seconds) => {
      const pids = pidsOf(platform, children);
      const before = await usagesOf(pids);
      const { perSecond, requests: _requests, ...result } = await run(workload, seconds);
      const processes = difference(before, await usagesOf(pids));
      const { name, clients, eventsPerRequest } = workload;
      const rate =
        eventsPerRequest === undefined
          ? { runsPerSecond: perSecond }
          : { eventsPerSecond: perSecond * eventsPerRequest };
      say(`${name}, ${clients} clients: ${JSON.stringify({ ...rate, ...result })}`);
      return { workload: name, clients, ...rate, ...result, processes };
    },
  };
}

function pidsOf({ fleet, servers }: Platform, children: Record<string, Child>): Record<string, number> {
  return {
    ...Object.fromEntries(fleet!.members.map((m) => [`${m.service}${m.replica || ''}`, m.pid])),
    ...Object.fromEntries(Object.entries(children).map(([name, child]) => [name, child.pid])),
    nats: servers.nats!.pid,
    postgres: servers.postgres!.pid,
    load: process.pid,
  };
}

async function usagesOf(pids: Record<string, number>): Promise<Record<string, Usage>> {
  const entries = Object.entries(pids).map(
    async ([name, pid]) => [name, await usageOf(pid, { withChildren: name === 'postgres' })] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** CPU of the time between, memory at its end. */
function difference(before: Record<string, Usage>, after: Record<string, Usage>): Record<string, Usage> {
  return Object.fromEntries(
    Object.entries(after).map(([name, { cpuSeconds, rssMegabytes, pssMegabytes }]) => [
      name,
      {
        cpuSeconds: Math.round((cpuSeconds - (before[name]?.cpuSeconds ?? 0)) * 100) / 100,
        rssMegabytes: Math.round(rssMegabytes),
        pssMegabytes: Math.round(pssMegabytes),
      },
    ]),
  );
}

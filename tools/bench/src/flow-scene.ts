/** Where flow control is shown: a fleet of processes, workers, an endpoint and their ledger, and what is killed of them meanwhile. */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Database } from '@ironflow/database';
import type { Platform, PlatformOptions } from '@ironflow/platform';
import { createClient } from '@ironflow/sdk';
import type { Client } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { appEnvOf, startChild } from './children.js';
import type { Child } from './children.js';
import type { Kill } from './flow-overlaps.js';
import { openDatabase, startSilentPlatform } from './program.js';
import type { Stage } from './program.js';

export interface FlowScene {
  platform: Platform;
  database: Database;
  client: Client;
  ledgerFile: string;
  workers: Child[];
  restartWorker: (index: number) => Promise<void>;
}

export interface Victim {
  what: string;
  pid: () => number;
  kill(): Promise<void>;
  start(): Promise<void>;
}

export interface Remains {
  runs: number;
  open: number;
  slots: number;
  entries: number;
  lanes: number;
}

const restartAfterMs = 1_000;

export async function setFlowScene(
  stage: Stage,
  of: { processes: NonNullable<PlatformOptions['processes']>; workers: number },
): Promise<FlowScene> {
  const { folder, lifecycle } = stage;
  const platform = await startSilentPlatform(stage, of);
  const ledgerFile = join(folder, 'ledger.jsonl');
  const env = { ...appEnvOf(platform), LEDGER: ledgerFile };
  const startWorker = () => startChild(new URL('./flow-worker.js', import.meta.url), env);
  const workers: Child[] = [];
  const endpoints: Child[] = [];
  lifecycle.onStop('apps', async () => {
    await Promise.all([...workers, ...endpoints].map((app) => app.end('SIGKILL')));
  });
  for (let index = 0; index < of.workers; index += 1) workers.push(await startWorker());
  endpoints.push(await startChild(new URL('./flow-endpoint.js', import.meta.url), env));
  return {
    platform,
    database: openDatabase(stage, platform.servers.ownerUrl),
    client: createClient({ ironflowUrl: platform.url, apiKey: platform.apiKey }),
    ledgerFile,
    workers,
    restartWorker: async (index) => void (workers[index] = await startWorker()),
  };
}

/** Kills them in turn, each time one, which is started again, until `signal` fires. What fails is told to whoever waits for the end. */
export function killInTurn(...given: Parameters<typeof killUntil>): Promise<Kill[]> {
  const killing = killUntil(...given);
  killing.catch(() => undefined);
  return killing;
}

async function killUntil(victims: readonly Victim[], everyMs: number, signal: AbortSignal): Promise<Kill[]> {
  const kills: Kill[] = [];
  for (let turn = 0; ; turn += 1) {
    await pause(everyMs - restartAfterMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return kills;
    const victim = victims[turn % victims.length]!;
    const pid = victim.pid();
    await victim.kill();
    kills.push({ what: victim.what, pid, atMs: Date.now() });
    await pause(restartAfterMs);
    await victim.start();
  }
}

export function fleetVictims({ platform }: FlowScene, service: 'executor' | 'scheduler'): Victim[] {
  return platform.fleet!.of(service).map((member) => ({
    what: `${service} ${member.replica}`,
    pid: () => member.pid,
    kill: () => member.kill(),
    start: () => member.start(),
  }));
}

export function workerVictims({ workers, restartWorker }: FlowScene): Victim[] {
  return workers.map((_, index) => ({
    what: `worker ${index}`,
    pid: () => workers[index]!.pid,
    kill: () => workers[index]!.end('SIGKILL'),
    start: () => restartWorker(index),
  }));
}

/** In requests of `perRequest`, as evenly as the platform takes them. */
export async function emitAll<Event extends { name: string }>(
  client: Client,
  events: readonly Event[],
  { perRequest, perSecond }: { perRequest: number; perSecond: number },
): Promise<void> {
  const startedMs = performance.now();
  for (let from = 0; from < events.length; from += perRequest) {
    const dueMs = startedMs + (from / perSecond) * 1_000;
    await pause(Math.max(0, dueMs - performance.now()));
    await client.emit(events.slice(from, from + perRequest));
  }
}

export async function readRemains(database: Database): Promise<Remains> {
  const [row] = await database.query<Remains>(
    {
      name: '',
      text: `select (select count(*)::int from runs) as runs,
          (select count(*)::int from runs where ended_at is null) as open,
          (select count(*)::int from slots) as slots,
          (select count(*)::int from queue_entries) as entries,
          (select count(*)::int from queue_lanes) as lanes`,
    },
    [],
  );
  return row!;
}

/** Until all runs have ended and nothing is held or waits; the failures say what was left. */
export async function settle(
  database: Database,
  { runs, withinMs }: { runs: number; withinMs: number },
): Promise<string[]> {
  const check = async (): Promise<void> => {
    const remains = await readRemains(database);
    const { open, slots, entries, lanes } = remains;
    if (remains.runs < runs || open + slots + entries + lanes > 0) throw new Error(JSON.stringify(remains));
  };
  try {
    await eventually(check, { timeoutMs: withinMs, intervalMs: 500 });
    return [];
  } catch {
    return [`not all has ended: ${JSON.stringify(await readRemains(database))}`];
  }
}

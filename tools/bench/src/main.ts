/**
 * The benchmark: everything in processes of its own, with the shipped defaults, authentication, validation and every
 * trace sampled. It ends with a count in Postgres, and fails if a run or a step is missing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import { createDatabase } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { startPlatform } from '@ironflow/platform';
import type { Platform } from '@ironflow/platform';
import { createLifecycle, createLogger } from '@ironflow/service';
import { startChild } from './children.js';
import type { Child } from './children.js';
import { runLoad } from './load.js';
import type { LoadResult } from './load.js';
import { usageOf } from './process-usage.js';
import type { Usage } from './process-usage.js';
import { pullFunction, pushFunction } from './workload.js';

interface Options {
  json: boolean;
  syncAlways: boolean;
  seconds: number;
  clients: number[];
  warmUp: number;
  replicas: number;
}

interface Measurement extends Omit<LoadResult, 'perSecond' | 'requests'> {
  workload: string;
  clients: number;
  runsPerSecond?: number;
  eventsPerSecond?: number;
  processes: Record<string, Usage>;
}

const options = readOptions();
const say = (line: string): void => console.error(line);

function readOptions(): Options {
  const number = (text: string): number => Number(text);
  const command = new Command('bench')
    .description('Measures the platform on this machine, every part in a process of its own.')
    .option('--json', 'print JSON', false)
    .option('--sync-always', 'JetStream flushes every write to disk before it acknowledges', false)
    .option('--seconds <n>', 'length of each measurement', number, 10)
    .option('--warm-up <n>', 'seconds before the first', number, 5)
    .option('--replicas <n>', 'of every service', number, 1)
    .option('--clients <list>', 'closed-loop clients', (text) => text.split(',').map(Number), [1, 64, 256]);
  return command.parse().opts<Options>();
}

async function main(): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'ironflow-bench-'));
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'bench', level: 'silent' }) });
  process.once('SIGINT', () => void lifecycle.stop().finally(() => process.exit(130)));
  try {
    const sink = await startChild('otlp-sink', {});
    lifecycle.onStop('otlp sink', () => sink.end('SIGTERM'));
    const { url: endpoint } = sink.message as { url: string };
    const platform = await startPlatform({
      dataFolder: folder,
      env: { ...process.env, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, LOG_LEVEL: 'warn' },
      lifecycle,
      loggerFor: (service) => createLogger({ service, level: 'silent' }),
      say,
      port: 0,
      processes: { replicas: options.replicas },
      syncAlways: options.syncAlways,
    });
    const appEnv = {
      IRONFLOW_URL: platform.url,
      IRONFLOW_API_KEY: platform.apiKey,
      IRONFLOW_SIGNING_KEY: platform.signingKey,
    };
    const worker = await startChild('worker', appEnv);
    lifecycle.onStop('worker', () => worker.end('SIGTERM'));
    const endpointApp = await startChild('endpoint', appEnv);
    lifecycle.onStop('endpoint', () => endpointApp.end('SIGKILL'));
    return await measureAll(platform, { worker, endpoint: endpointApp, sink });
  } finally {
    await lifecycle.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function measureAll(platform: Platform, children: Record<string, Child>): Promise<boolean> {
  const database = createDatabase({
    url: platform.servers.ownerUrl,
    applicationName: 'bench',
    maxConnections: 2,
  });
  try {
    const durability = await readDurability(platform, database);
    say(`Durability: ${JSON.stringify(durability)}`);
    const pids = (): Record<string, number> => ({
      ...Object.fromEntries(platform.fleet!.members.map((m) => [`${m.service}${m.replica || ''}`, m.pid])),
      ...Object.fromEntries(Object.entries(children).map(([name, child]) => [name, child.pid])),
      nats: platform.servers.nats?.pid ?? 0,
      postgres: platform.servers.postgres?.pid ?? 0,
      load: process.pid,
    });
    // As behind an ingress: the load goes to the replicas of ingest, without the development gateway in between.
    const ingest = platform.fleet!.of('ingest')[0]!.url;
    const runs = { completed: 0 };
    const measurements: Measurement[] = [];
    for (const functionId of [pullFunction, pushFunction]) {
      await wave(functionId, 64, options.warmUp);
      for (const clients of options.clients) {
        measurements.push(
          await measured(`3-step run, emit and wait, ${functionId}`, clients, pids, () =>
            wave(functionId, clients, options.seconds),
          ),
        );
      }
    }
    for (const batch of [1, 100]) {
      measurements.push(
        await measured(`${batch} event${batch > 1 ? 's' : ''} a POST`, 64, pids, () => post(batch), batch),
      );
    }
    const counts = await countRows(database);
    const failures = measurements.reduce((sum, { failures: failed }) => sum + failed, 0);
    const missing =
      runs.completed - counts.completedRuns + (counts.completedRuns * 3 - counts.completedSteps);
    const passed = failures === 0 && missing === 0;
    const report = {
      machine: { cpus: cpus().length, model: cpus()[0]?.model, node: process.version },
      settings: { ...options, ...durability, replicas: options.replicas, tracesSampled: 1 },
      measurements,
      verified: { answeredRuns: runs.completed, ...counts, missing, failures, passed },
    };
    print(report);
    return passed;

    async function wave(functionId: string, clients: number, seconds: number): Promise<LoadResult> {
      const result = await runLoad({
        url: `${ingest}/v1/events?wait=30s`,
        apiKey: platform.apiKey,
        clients,
        seconds,
        body: (n) => JSON.stringify({ name: `${functionId}.started`, data: { n, pad: 'x'.repeat(150) } }),
        check: (answer) => (answer as { runs?: { status: string }[] }).runs?.[0]?.status === 'completed',
      });
      runs.completed += result.requests - result.failures;
      return result;
    }
    async function post(batch: number): Promise<LoadResult> {
      const event = (n: number) => ({ name: 'bench.stored', data: { n, pad: 'x'.repeat(150) } });
      return runLoad({
        url: `${ingest}/v1/events`,
        apiKey: platform.apiKey,
        clients: 64,
        seconds: options.seconds,
        body: (n) => JSON.stringify(batch === 1 ? event(n) : Array.from({ length: batch }, () => event(n))),
        check: (answer) => (answer as { ids?: string[] }).ids?.length === batch,
      });
    }
  } finally {
    await database.close();
  }
}

async function measured(
  workload: string,
  clients: number,
  pids: () => Record<string, number>,
  run: () => Promise<LoadResult>,
  eventsPerRequest?: number,
): Promise<Measurement> {
  const before = await usages(pids());
  const { perSecond, requests: _requests, ...result } = await run();
  const after = await usages(pids());
  const processes = Object.fromEntries(
    Object.entries(after).map(([name, usage]) => [
      name,
      {
        cpuSeconds: Math.round((usage.cpuSeconds - (before[name]?.cpuSeconds ?? 0)) * 100) / 100,
        rssMegabytes: Math.round(usage.rssMegabytes),
      },
    ]),
  );
  const rate =
    eventsPerRequest === undefined
      ? { runsPerSecond: perSecond }
      : { eventsPerSecond: perSecond * eventsPerRequest };
  say(`${workload}, ${clients} clients: ${JSON.stringify({ ...rate, ...result })}`);
  return { workload, clients, ...rate, ...result, processes };
}

async function usages(pids: Record<string, number>): Promise<Record<string, Usage>> {
  const entries = Object.entries(pids).map(
    async ([name, pid]) => [name, await usageOf(pid, { withChildren: name === 'postgres' })] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

async function readDurability(platform: Platform, database: Database) {
  const [postgres] = await database.query<{ synchronous_commit: string; fsync: string }>(
    {
      name: 'bench_durability',
      text: `select current_setting('synchronous_commit') as synchronous_commit, current_setting('fsync') as fsync`,
    },
    [],
  );
  const monitor = platform.servers.nats?.monitorUrl;
  const varz = monitor === undefined ? undefined : ((await (await fetch(`${monitor}/varz`)).json()) as Varz);
  const jetstream = varz?.jetstream?.config;
  return {
    postgres: { synchronousCommit: postgres?.synchronous_commit, fsync: postgres?.fsync },
    jetstream: {
      version: varz?.version,
      syncAlways: jetstream?.sync_always ?? false,
      syncIntervalSeconds: (jetstream?.sync_interval ?? 0) / 1e9,
    },
  };
}

interface Varz {
  version?: string;
  jetstream?: { config?: { sync_always?: boolean; sync_interval?: number } };
}

async function countRows(database: Database) {
  const [row] = await database.query<{ runs: number; steps: number; open: number }>(
    {
      name: 'bench_count',
      text: `select (select count(*)::int from runs where status = 'completed') as runs,
                    (select count(*)::int from runs where ended_at is null) as open,
                    (select count(*)::int from steps where status = 'completed') as steps`,
    },
    [],
  );
  return { completedRuns: row?.runs ?? 0, completedSteps: row?.steps ?? 0, openRuns: row?.open ?? 0 };
}

function print(report: object & { measurements: Measurement[] }): void {
  if (options.json) console.log(JSON.stringify(report, null, 2));
  else {
    console.table(report.measurements.map(({ processes: _processes, ...measurement }) => measurement));
  }
}

const passed = await main().catch((error: unknown) => {
  console.error(messageOf(error));
  return false;
});
process.exit(passed ? 0 : 1);

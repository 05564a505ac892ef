/**
 * The benchmark: everything in processes of its own, with the shipped defaults, authentication, validation and every
 * trace sampled. It ends with a count in Postgres, and fails if a run, a step, an event or a span is missing.
 */
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Database } from '@ironflow/database';
import { isolatedEnv, serviceNodeArguments, startPlatform } from '@ironflow/platform';
import type { Platform } from '@ironflow/platform';
import type { RunMode } from '@ironflow/schema';
import { createLogger } from '@ironflow/service';
import type { Lifecycle } from '@ironflow/service';
import { natsServerEnv } from '@ironflow/testing';
import { appEnvOf, startChild } from './children.js';
import { readDurability } from './durability.js';
import { measureFairness } from './fairness.js';
import type { FairnessReport } from './fairness.js';
import { createMeter } from './meter.js';
import type { Measurement, Meter } from './meter.js';
import { namesOf, wholeNumber, wholeNumbers } from './option-values.js';
import { createProgram, openDatabase, say } from './program.js';
import type { Stage } from './program.js';
import { measureSleepers, measureTimers } from './sleeper-measurements.js';
import type { Bench, SleepersReport } from './sleeper-measurements.js';
import { countRows, problemsOf, readSpans } from './verification.js';
import { logLinesVariable, pullFunction, pushFunction } from './workload.js';
import { storedEvents, threeStepRuns } from './workloads.js';

interface Options {
  json: boolean;
  syncAlways: boolean;
  seconds: number;
  clients: number[];
  warmUp: number;
  replicas: number;
  only: string[];
  logLines: number;
  timers: number;
  timersLead: number;
  sleepers: number;
  flood: number;
  fairness: RunMode[];
}

/** What is measured when nothing is chosen: sleepers and floods take minutes. */
const usualParts = ['runs', 'events'];
const parts = [...usualParts, 'timers', 'sleepers', 'fairness'];
const options = readOptions();
const program = createProgram('bench');
const warmUpClients = 64;
const asleepPerSecondMin = 50;

await program.run(() => program.onStage(bench));

function readOptions(): Options {
  return new Command('bench')
    .description('Measures the platform on this machine, every part in a process of its own.')
    .option('--json', 'print JSON', false)
    .option('--sync-always', 'JetStream flushes every write to disk before it acknowledges', false)
    .option('--seconds <n>', 'length of each measurement', wholeNumber(1, 3_600), 10)
    .option('--warm-up <n>', 'seconds before the first', wholeNumber(1, 3_600), 20)
    .option('--replicas <n>', 'of every service', wholeNumber(1, 8), 1)
    .option('--clients <list>', 'closed-loop clients', wholeNumbers(1, 4_096), [1, 64, 256])
    .option('--only <names>', `of: ${parts.join(', ')}`, namesOf(parts), usualParts)
    .option('--log-lines <n>', 'that each run logs', wholeNumber(0, 1_000), 0)
    .option('--timers <n>', 'of `timers`: how many, due within 5 s', wholeNumber(1, 1_000_000), 10_000)
    .option('--timers-lead <n>', 'seconds until the first is due', wholeNumber(1, 3_600), 60)
    .option('--sleepers <n>', 'of `sleepers`: how many', wholeNumber(1, 10_000_000), 100_000)
    .option(
      '--flood <n>',
      'of `fairness`: events that one environment emits at once',
      wholeNumber(1, 1_000_000),
      50_000,
    )
    .option('--fairness <modes>', 'of `fairness`: pull, push', namesOf(['pull', 'push']), ['pull', 'push'])
    .parse()
    .opts<Options>();
}

async function bench(stage: Stage): Promise<boolean> {
  const { folder, lifecycle } = stage;
  const sink = await startChild(new URL('./otlp-sink.js', import.meta.url), {});
  lifecycle.onStop('otlp sink', () => sink.end('SIGTERM'));
  const { url: endpoint } = sink.message as { url: string };
  const platform = await startPlatform({
    dataFolder: folder,
    env: { ...isolatedEnv(process.env), OTEL_EXPORTER_OTLP_ENDPOINT: endpoint },
    lifecycle,
    loggerFor: (service) => createLogger({ service, level: 'silent' }),
    say,
    port: 0,
    processes: { replicas: options.replicas },
    syncAlways: options.syncAlways,
  });
  const appEnv = { ...appEnvOf(platform), [logLinesVariable]: String(options.logLines) };
  const worker = await startChild(new URL('./worker.js', import.meta.url), {
    ...appEnv,
    IRONFLOW_WORKER_URL: workerUrlOf(platform),
  });
  lifecycle.onStop('worker', () => worker.end('SIGTERM'));
  const app = await startChild(new URL('./endpoint.js', import.meta.url), appEnv);
  lifecycle.onStop('endpoint', () => app.end('SIGKILL'));
  const database = openDatabase(stage, platform.servers.ownerUrl);
  const meter = createMeter({ platform, children: { worker, endpoint: app, sink }, say });
  return measureAll({ platform, database, meter, lifecycle });
}

interface Ground {
  platform: Platform;
  database: Database;
  meter: Meter;
  lifecycle: Lifecycle;
}

/** As behind an ingress, past the development gateway; among several executors only that one can choose. */
function workerUrlOf({ fleet, url }: Platform): string {
  const executors = fleet!.of('executor');
  return executors.length === 1 ? executors[0]!.url : url;
}

async function measureAll(ground: Ground): Promise<boolean> {
  const { platform, database, meter } = ground;
  const durability = await readDurability(platform, database);
  say(`Durability: ${JSON.stringify(durability)}`);
  // As behind an ingress: the load goes to the replicas of ingest, without the development gateway in between.
  const target = { apiKey: platform.apiKey, urls: platform.fleet!.of('ingest').map(({ url }) => url) };
  const measures = (part: string): boolean => options.only.includes(part);
  const measurements: Measurement[] = [];
  for (const functionId of measures('runs') ? [pullFunction, pushFunction] : []) {
    await meter.warmUp(threeStepRuns(target, functionId, warmUpClients), options.warmUp);
    for (const clients of options.clients) {
      measurements.push(await meter.measure(threeStepRuns(target, functionId, clients), options.seconds));
    }
  }
  for (const eventsPerRequest of measures('events') ? [1, 100] : []) {
    measurements.push(await meter.measure(storedEvents(target, eventsPerRequest), options.seconds));
  }
  const bench = { target, database, meter };
  const timers = measures('timers')
    ? await measureTimers(bench, { count: options.timers, leadSeconds: options.timersLead })
    : undefined;
  if (timers !== undefined) say(`Timers: ${JSON.stringify(timers)}`);
  const sleepers = measures('sleepers') ? await measureWithSleepers(bench) : undefined;
  if (sleepers !== undefined) say(`Sleepers: ${JSON.stringify(sleepers)}`);
  const fairness = measures('fairness') ? await measureFloods(ground, bench) : [];
  const counts = await countRows(database);
  const spans = await readSpans(platform.fleet!);
  const problems = [
    ...meter.problems,
    ...problemsOf(meter.answered, counts, spans),
    ...(timers?.problems ?? []),
  ];
  const report = {
    machine: { cpus: cpus().length, model: cpus()[0]?.model, node: process.version },
    settings: {
      ...options,
      ...durability,
      nodeArguments: serviceNodeArguments,
      scheduling: platform.scheduling,
      natsServerEnv: natsServerEnv(),
      tracesSampled: 1,
      workersConnectTo: workerUrlOf(platform) === platform.url ? 'gateway' : 'executor',
    },
    measurements,
    ...(timers === undefined ? {} : { timers }),
    ...(sleepers === undefined ? {} : { sleepers }),
    ...(fairness.length === 0 ? {} : { fairness }),
    verified: { answered: meter.answered, ...counts, spans, problems, passed: problems.length === 0 },
  };
  if (options.json) console.log(JSON.stringify(report, null, 2));
  else {
    if (measurements.length > 0)
      console.table(measurements.map(({ processes: _processes, ...measurement }) => measurement));
    for (const one of fairness) say(`Fairness: ${JSON.stringify(one)}`);
    say(`Settings: ${JSON.stringify(report.settings)}`);
    say(`Verified: ${JSON.stringify(report.verified)}`);
  }
  return report.verified.passed;
}

/** What new runs of three steps take beside them. */
async function measureWithSleepers(bench: Bench): Promise<SleepersReport> {
  const workload = threeStepRuns(bench.target, pullFunction, warmUpClients);
  await bench.meter.warmUp(workload, options.warmUp);
  return measureSleepers(bench, workload, {
    count: options.sleepers,
    seconds: options.seconds,
    asleepWithinMs: 60_000 + (options.sleepers / asleepPerSecondMin) * 1_000,
  });
}

/** In an environment beside, with apps of its own. */
async function measureFloods(
  { platform, database, meter, lifecycle }: Ground,
  { target }: Bench,
): Promise<FairnessReport[]> {
  const neighbour = await platform.createEnvironment('neighbour', 'dev');
  const beginningsFile = join(platform.dataFolder, 'beginnings');
  const apps = await startChild(new URL('./neighbour.js', import.meta.url), {
    IRONFLOW_URL: platform.url,
    IRONFLOW_WORKER_URL: workerUrlOf(platform),
    IRONFLOW_API_KEY: neighbour.apiKey,
    IRONFLOW_SIGNING_KEY: neighbour.signingKey,
    BEGINNINGS: beginningsFile,
  });
  lifecycle.onStop('neighbour', () => apps.end('SIGKILL'));
  const reports: FairnessReport[] = [];
  for (const mode of options.fairness) {
    const functionId = mode === 'pull' ? pullFunction : pushFunction;
    await meter.warmUp(threeStepRuns(target, functionId, warmUpClients), options.warmUp);
    const given = { database, beginningsFile, say, answered: meter.answered };
    reports.push(
      await measureFairness(
        {
          ...target,
          ...given,
          neighbourKey: neighbour.apiKey,
          count: options.flood,
          quietSeconds: Math.max(options.seconds, 10),
        },
        mode,
      ),
    );
  }
  return reports;
}

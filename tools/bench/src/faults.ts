/**
 * Faults: a real platform in processes of its own, at least 200 runs mid-way, then something is killed. Every run has to
 * complete, and no step may begin after its record was acknowledged.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import { createDatabase } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { startPlatform } from '@ironflow/platform';
import type { Platform, ServiceName } from '@ironflow/platform';
import { createClient } from '@ironflow/sdk';
import { createLifecycle, createLogger } from '@ironflow/service';
import { eventually } from '@ironflow/testing';
import { startChild } from './children.js';
import type { Child } from './children.js';
import { faultEvent } from './fault-functions.js';
import { examine, readLedger } from './ledger.js';

interface Options {
  smoke: boolean;
  json: boolean;
  only?: string[];
  workerlessSeconds: number;
}

interface Scene {
  platform: Platform;
  database: Database;
  ledgerFile: string;
  worker: () => Child;
  restartWorker: () => Promise<void>;
  /** Events in one go; their runs are twice as many, one in push and one in pull mode. */
  events: number;
  midway: number;
}

interface Scenario {
  name: string;
  replicas: number;
  cron?: boolean;
  /** Called when enough runs are mid-way. */
  inject(scene: Scene): Promise<string>;
}

interface Result {
  scenario: string;
  runs: number;
  midway: number;
  fault: string;
  completed: number;
  secondsToEnd: number;
  stepsBegun: number;
  repeats: number;
  violations: number;
  failures: string[];
}

const options = readOptions();
const say = (line: string): void => console.error(line);

function readOptions(): Options {
  return new Command('faults')
    .description(
      'Kills parts of a real platform while runs are mid-way, and checks that nothing is lost or repeated.',
    )
    .option('--smoke', 'fewer runs and a shorter time without a worker', false)
    .option('--json', 'print JSON', false)
    .option(
      '--only <names>',
      `of: ${scenarios()
        .map(({ name }) => name)
        .join(', ')}`,
      (text) => text.split(','),
    )
    .option('--workerless-seconds <n>', 'how long there is no worker', Number, 300)
    .parse()
    .opts<Options>();
}

function scenarios(): Scenario[] {
  const killed = (service: ServiceName): Scenario => ({
    name: service,
    replicas: 1,
    inject: async ({ platform }) => {
      const member = platform.fleet!.of(service)[0]!;
      const { pid } = member;
      await member.kill();
      await pause(1_000);
      await member.start();
      return `kill -9 ${pid}, started again after 1 s`;
    },
  });
  return [
    killed('executor'),
    killed('scheduler'),
    killed('result-collector'),
    killed('ingest'),
    {
      name: 'worker',
      replicas: 1,
      inject: async ({ worker, restartWorker }) => {
        const { pid } = worker();
        await worker().end('SIGKILL');
        await restartWorker();
        return `kill -9 ${pid}, another started`;
      },
    },
    {
      name: 'two-of-each',
      replicas: 2,
      cron: true,
      inject: async ({ platform }) => {
        const member = platform.fleet!.of('executor')[0]!;
        await member.kill();
        await member.start();
        return 'kill -9 of one executor of two';
      },
    },
    {
      name: 'no-worker',
      replicas: 2,
      inject: async ({ worker, restartWorker }) => {
        const seconds = options.smoke ? 15 : options.workerlessSeconds;
        await worker().end('SIGKILL');
        await pause(seconds * 1_000);
        await restartWorker();
        return `no worker for ${seconds} s`;
      },
    },
    {
      name: 'nats-wiped',
      replicas: 1,
      inject: async ({ platform }) => {
        await platform.servers.nats!.kill();
        await platform.servers.nats!.restart({ wipe: true });
        return 'nats-server kill -9, its directory removed, an empty one started';
      },
    },
  ];
}

async function main(): Promise<boolean> {
  const wanted = scenarios().filter(({ name }) => options.only?.includes(name) ?? true);
  if (wanted.length === 0) throw new Error('--only names no scenario: see --help');
  const results: Result[] = [];
  for (const scenario of wanted) {
    say(`\n${scenario.name}`);
    // What could not even be played is a failure with its reason; the others are still played.
    const result = await play(scenario).catch((error: unknown) => unplayed(scenario, error));
    results.push(result);
    say(JSON.stringify(result));
  }
  if (options.json) console.log(JSON.stringify(results, null, 2));
  else console.table(results.map(({ failures, ...result }) => ({ ...result, failures: failures.length })));
  return results.every(({ failures }) => failures.length === 0);
}

function unplayed({ name }: Scenario, error: unknown): Result {
  const none = {
    runs: 0,
    midway: 0,
    completed: 0,
    secondsToEnd: 0,
    stepsBegun: 0,
    repeats: 0,
    violations: 0,
  };
  return { scenario: name, fault: 'none: it could not be played', ...none, failures: [messageOf(error)] };
}

async function play(scenario: Scenario): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'ironflow-faults-'));
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'faults', level: 'silent' }) });
  process.once('SIGINT', () => void lifecycle.stop().finally(() => process.exit(130)));
  try {
    const platform = await startPlatform({
      dataFolder: folder,
      env: { ...process.env, LOG_LEVEL: 'warn' },
      lifecycle,
      loggerFor: (service) => createLogger({ service, level: 'silent' }),
      say: () => undefined,
      port: 0,
      processes: { replicas: scenario.replicas },
    });
    const ledgerFile = join(folder, 'ledger.jsonl');
    const env = {
      IRONFLOW_URL: platform.url,
      IRONFLOW_API_KEY: platform.apiKey,
      IRONFLOW_SIGNING_KEY: platform.signingKey,
      LEDGER: ledgerFile,
      WITH_CRON: String(scenario.cron === true),
    };
    const endpoint = await startChild('fault-endpoint', env);
    lifecycle.onStop('endpoint', () => endpoint.end('SIGKILL'));
    let worker = await startChild('fault-worker', env);
    lifecycle.onStop('worker', () => worker.end('SIGKILL'));
    const database = createDatabase({
      url: platform.servers.ownerUrl,
      applicationName: 'faults',
      maxConnections: 2,
    });
    lifecycle.onStop('database', () => database.close());
    return await run(scenario, {
      platform,
      database,
      ledgerFile,
      worker: () => worker,
      restartWorker: async () => {
        worker = await startChild('fault-worker', env);
      },
      events: options.smoke ? 110 : 200,
      midway: options.smoke ? 100 : 200,
    });
  } finally {
    await lifecycle.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function run(scenario: Scenario, scene: Scene): Promise<Result> {
  const { database, ledgerFile, events } = scene;
  const client = createClient({ ironflowUrl: scene.platform.url, apiKey: scene.platform.apiKey });
  await client.emit(Array.from({ length: events }, (_, n) => ({ name: faultEvent, data: { n } })));
  const midway = await eventually(
    async () => {
      const count = await countMidway(database);
      if (count < scene.midway) throw new Error(`${count} runs are mid-way`);
      return count;
    },
    { timeoutMs: 30_000 },
  );
  const startedMs = performance.now();
  const fault = await scenario.inject(scene);
  // What a client sends right after a fault has to be taken too.
  await client.emit({ name: faultEvent, data: { after: true } });
  const runs = (events + 1) * 2;
  const failures: string[] = [];
  const completed = await eventually(
    async () => {
      const counts = await countRuns(database);
      if (counts.completed + counts.failed < runs)
        throw new Error(`${counts.completed} of ${runs} runs are completed`);
      return counts.completed;
    },
    { timeoutMs: 120_000 },
  ).catch((error: unknown) => {
    failures.push(messageOf(error));
    return 0;
  });
  const secondsToEnd = Math.round((performance.now() - startedMs) / 100) / 10;
  if (completed !== runs) failures.push(`${completed} of ${runs} runs completed`);
  const lines = readLedger(ledgerFile);
  const { begun, violations, repeats } = examine(lines);
  if (violations.length > 0) failures.push(`${violations.length} steps began after they were acknowledged`);
  if (scenario.cron === true) failures.push(...(await checkFirings(ledgerFile)));
  if (scenario.name === 'no-worker') failures.push(...(await checkUnused(database)));
  return {
    scenario: scenario.name,
    runs,
    midway,
    fault,
    completed,
    secondsToEnd,
    stepsBegun: begun,
    repeats,
    violations: violations.length,
    failures,
  };
}

async function countMidway(database: Database): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    {
      name: 'faults_midway',
      text: `select count(*)::int as count from runs
             where function_id like 'fault-%' and journal_seq > 0 and ended_at is null`,
    },
    [],
  );
  return row?.count ?? 0;
}

async function countRuns(database: Database): Promise<{ completed: number; failed: number }> {
  const [row] = await database.query<{ completed: number; failed: number }>(
    {
      name: 'faults_runs',
      text: `select count(*) filter (where status = 'completed')::int as completed,
                    count(*) filter (where status = 'failed')::int as failed
             from runs where function_id like 'fault-%'`,
    },
    [],
  );
  return row ?? { completed: 0, failed: 0 };
}

/** Each second once: no time twice, and none left out between the first and the last. */
async function checkFirings(ledgerFile: string): Promise<string[]> {
  const fired = new Map<string, Set<string>>();
  for (const line of readLedger(ledgerFile)) {
    if (line.what !== 'fired') continue;
    fired.set(line.step, (fired.get(line.step) ?? new Set()).add(line.run));
  }
  const times = [...fired.keys()].map((time) => Date.parse(time)).sort((a, b) => a - b);
  const twice = [...fired.values()].filter((runs) => runs.size > 1).length;
  const missing = times.length === 0 ? 1 : (times.at(-1)! - times[0]!) / 1_000 + 1 - times.length;
  say(`cron: ${times.length} times fired, ${twice} of them twice, ${missing} missing`);
  return twice + missing > 0 ? [`cron: ${twice} times fired twice, ${missing} missing`] : [];
}

/** Waiting for a worker costs nothing: no run has used more than the one call that was lost with the worker. */
async function checkUnused(database: Database): Promise<string[]> {
  const [row] = await database.query<{ attempts: number }>(
    {
      name: 'faults_attempts',
      text: `select coalesce(max(attempt), 0)::int as attempts from steps where run_id in
             (select id from runs where function_id = 'fault-pull')`,
    },
    [],
  );
  const attempts = row?.attempts ?? 0;
  return attempts > 1 ? [`a step used ${attempts} attempts`] : [];
}

async function pause(durationMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, durationMs));
}

const passed = await main().catch((error: unknown) => {
  console.error(messageOf(error));
  return false;
});
process.exit(passed ? 0 : 1);

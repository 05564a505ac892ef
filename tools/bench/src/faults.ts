/**
 * Faults: a real platform in processes of its own, at least 200 runs mid-way, then something is killed. Every event that was
 * answered has to get its runs and each of them has to complete, and no step may begin after its result was stored. What a
 * failed scenario leaves (ledger, logs, data) is kept.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import { createDatabase } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import { endOnSignal, interruptedExitCode, isolatedEnv, startPlatform } from '@ironflow/platform';
import { createLifecycle, createLogger } from '@ironflow/service';
import type { Lifecycle } from '@ironflow/service';
import { eventually } from '@ironflow/testing';
import { startChild } from './children.js';
import { startEmission } from './emission.js';
import { countRuns, countUnserved } from './fault-checks.js';
import { checkFirings } from './firings.js';
import { readJournalTimes } from './journal-times.js';
import { earliest, examine, readLedger } from './ledger.js';
import { namesOf, wholeNumber } from './option-values.js';
import { scenarios } from './scenarios.js';
import type { Scenario, Scene } from './scenarios.js';

interface Options {
  smoke: boolean;
  json: boolean;
  only?: string[];
  workerlessSeconds: number;
}

interface Result {
  scenario: string;
  fault: string;
  events: number;
  runs: number;
  /** Runs that had recorded something and not ended as the fault struck. */
  midway: number;
  completed: number;
  secondsToEnd: number;
  stepsBegun: number;
  repeats: number;
  violations: number;
  /** Requests to emit that had to be sent again. */
  refusals: Record<string, number>;
  failures: string[];
}

const options = readOptions();
const load = options.smoke
  ? { perSecond: 75, events: 130, midway: 100 }
  : { perSecond: 120, events: 240, midway: 200 };
const midwayWithinMs = 60_000;
const completedWithinMs = 120_000;
const say = (line: string): void => console.error(line);
const interruption = endOnSignal(() => say('Stopping…'));

const passed = await main().catch((error: unknown) => {
  if (!interruption.signal.aborted) console.error(messageOf(error));
  return false;
});
process.exit(interruption.signal.aborted ? interruptedExitCode : passed ? 0 : 1);

function readOptions(): Options {
  const names = scenarios.map(({ name }) => name);
  return new Command('faults')
    .description(
      'Kills parts of a real platform while runs are mid-way, and checks that nothing is lost or repeated.',
    )
    .option('--smoke', 'fewer runs and a shorter time without a worker', false)
    .option('--json', 'print JSON', false)
    .option('--only <names>', `of: ${names.join(', ')}`, namesOf(names))
    .option('--workerless-seconds <n>', 'how long there is no worker', wholeNumber(1, 86_400), 300)
    .parse()
    .opts<Options>();
}

async function main(): Promise<boolean> {
  const results: Result[] = [];
  for (const scenario of scenarios.filter(({ name }) => options.only?.includes(name) ?? true)) {
    say(`\n${scenario.name}`);
    const result = await play(scenario);
    results.push(result);
    say(JSON.stringify(result));
  }
  if (options.json) console.log(JSON.stringify(results, null, 2));
  else {
    console.table(
      results.map(({ failures, refusals, ...result }) => ({
        ...result,
        refusals: Object.values(refusals).reduce((sum, count) => sum + count, 0),
        failures: failures.length,
      })),
    );
  }
  return results.every(({ failures }) => failures.length === 0);
}

async function play(scenario: Scenario): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'ironflow-faults-'));
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'faults', level: 'silent' }) });
  let keep = false;
  try {
    const scene = await interruption.during(setScene(scenario, folder, lifecycle));
    const result = await interruption.during(run(scenario, scene));
    keep = result.failures.length > 0;
    return result;
  } catch (error) {
    if (interruption.signal.aborted) throw error;
    keep = true;
    // What could not even be played is a failure with its reason; the others are still played.
    return unplayed(scenario, error);
  } finally {
    await lifecycle.stop();
    if (keep) say(`kept: ${folder}`);
    else await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function setScene(scenario: Scenario, folder: string, lifecycle: Lifecycle): Promise<Scene> {
  const platform = await startPlatform({
    dataFolder: folder,
    env: isolatedEnv(process.env),
    lifecycle,
    loggerFor: (service) => createLogger({ service, level: 'silent' }),
    say: () => undefined,
    port: 0,
    processes: { replicas: scenario.replicas },
  });
  const { natsUrl, ownerUrl } = platform.servers;
  const ledgerFile = join(folder, 'ledger.jsonl');
  const env = {
    IRONFLOW_URL: platform.url,
    IRONFLOW_API_KEY: platform.apiKey,
    IRONFLOW_SIGNING_KEY: platform.signingKey,
    LEDGER: ledgerFile,
    WITH_CRON: String(scenario.cron === true),
  };
  const endpoint = await startChild(programOf('fault-endpoint'), env);
  lifecycle.onStop('endpoint', () => endpoint.end('SIGKILL'));
  let worker = await startChild(programOf('fault-worker'), env);
  lifecycle.onStop('worker', () => worker.end('SIGKILL'));
  const database = createDatabase({ url: ownerUrl, applicationName: 'faults', maxConnections: 2 });
  lifecycle.onStop('database', () => database.close());
  const jetstream = await connectJetStream({ url: natsUrl, name: 'faults', replicas: 1 });
  lifecycle.onStop('jetstream', () => jetstream.close());
  return {
    platform,
    database,
    jetstream,
    ledgerFile,
    worker: () => worker,
    restartWorker: async () => {
      worker = await startChild(programOf('fault-worker'), env);
    },
    workerlessSeconds: options.smoke ? Math.min(15, options.workerlessSeconds) : options.workerlessSeconds,
  };
}

async function run(scenario: Scenario, scene: Scene): Promise<Result> {
  const { platform, database } = scene;
  const fromMs = Date.now();
  const emission = startEmission({
    ...platform,
    perSecond: load.perSecond,
    count: scenario.emitsMeanwhile === true ? undefined : load.events,
  });
  const midway = await enoughMidway(scene);
  say(`${midway} runs are mid-way`);
  const startedMs = performance.now();
  const injection = await scenario.inject(scene);
  // What a client sends right after a fault has to be taken too.
  await emission.emit();
  const eventIds = [...new Set(await emission.finish())];
  const ended = await waitForRuns(scene, eventIds.length * 2);
  const secondsToEnd = Math.round((performance.now() - startedMs) / 100) / 10;
  const lines = readLedger(scene.ledgerFile);
  const nowMs = Date.now();
  const unserved = await countUnserved(database, eventIds);
  const { connection } = scene.jetstream;
  const wasWiped = injection.accepted !== undefined;
  const stored = await readJournalTimes({ connection, database, onlyKept: wasWiped });
  const { begun, violations, repeats } = examine(
    lines,
    earliest(stored, injection.accepted ?? new Map<string, number>()),
  );
  const failures = [...ended.failures, ...(injection.failures ?? [])];
  if (unserved > 0) failures.push(`${unserved} of ${eventIds.length} events did not get their two runs`);
  if (stored.size === 0) failures.push('the journal has no results: nothing was measured');
  if (violations.length > 0) failures.push(`${violations.length} steps began after they were stored`);
  if (scenario.cron === true) {
    const firings = checkFirings(lines, { fromMs, nowMs });
    say(`cron: ${firings.fired} times fired`);
    failures.push(...firings.failures);
  }
  return {
    scenario: scenario.name,
    fault: injection.fault,
    events: eventIds.length,
    runs: eventIds.length * 2,
    midway,
    completed: ended.completed,
    secondsToEnd,
    stepsBegun: begun,
    repeats,
    violations: violations.length,
    refusals: emission.refusals,
    failures,
  };
}

function enoughMidway({ database }: Scene): Promise<number> {
  return eventually(
    async () => {
      const { midway } = await countRuns(database);
      if (midway < load.midway) throw new Error(`${midway} runs are mid-way`);
      return midway;
    },
    { timeoutMs: midwayWithinMs },
  );
}

async function waitForRuns(
  { database }: Scene,
  wanted: number,
): Promise<{ completed: number; failures: string[] }> {
  const failures: string[] = [];
  await eventually(
    async () => {
      const { completed, failed } = await countRuns(database);
      if (completed + failed < wanted) throw new Error(`${completed} of ${wanted} runs are completed`);
    },
    { timeoutMs: completedWithinMs },
  ).catch((error: unknown) => failures.push(messageOf(error)));
  // Also after a time-out: what is told is what there is.
  const { completed, runs } = await countRuns(database);
  if (completed !== wanted) failures.push(`${completed} of ${wanted} runs completed`);
  if (runs !== wanted) failures.push(`there are ${runs} runs, and ${wanted} were asked for`);
  return { completed, failures };
}

function programOf(name: string): URL {
  return new URL(`./${name}.js`, import.meta.url);
}

function unplayed({ name }: Scenario, error: unknown): Result {
  return {
    scenario: name,
    fault: 'none: it could not be played',
    events: 0,
    runs: 0,
    midway: 0,
    completed: 0,
    secondsToEnd: 0,
    stepsBegun: 0,
    repeats: 0,
    violations: 0,
    refusals: {},
    failures: [messageOf(error)],
  };
}

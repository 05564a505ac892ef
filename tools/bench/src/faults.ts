/**
 * Faults: a real platform in processes of its own, at least 200 runs mid-way, then something is killed. Every event that was
 * answered has to get its runs and each of them has to complete, and no step may begin after its result was stored. What a
 * failed scenario leaves (ledger, logs, data) is kept.
 */
import { join } from 'node:path';
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import type { Database } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import { eventually } from '@ironflow/testing';
import { appEnvOf, startChild } from './children.js';
import type { Child } from './children.js';
import { politeRefusal, startEmission } from './emission.js';
import { countRuns, countUnserved } from './fault-checks.js';
import { checkFirings } from './firings.js';
import { readJournalTimes } from './journal-times.js';
import { earliest, examine, readLedger } from './ledger.js';
import type { LedgerLine, StoredTimes } from './ledger.js';
import { namesOf, wholeNumber } from './option-values.js';
import { peakMegabytesOf } from './process-usage.js';
import { createProgram, openDatabase, say, startSilentPlatform } from './program.js';
import type { Stage } from './program.js';
import { measureRecovery, missedGoals, recoveryTimes } from './recovery.js';
import type { Recoveries } from './recovery.js';
import { scenarios } from './scenarios.js';
import type { Injection, Scenario, Scene } from './scenarios.js';

interface Options {
  smoke: boolean;
  json: boolean;
  only?: string[];
  workerlessSeconds: number;
  holdSeconds?: number;
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
  /** The most that a process of each service had in memory. */
  peakMegabytes: Record<string, number>;
  /** From the kill until the steps under way began again. */
  recovery?: Recoveries;
  failures: string[];
}

const options = readOptions();
const load = options.smoke
  ? { perSecond: 75, events: 130, midway: 100 }
  : { perSecond: 120, events: 240, midway: 200 };
/** Under pressure the load lasts as long as the fault: less a second, as what is refused comes again beside it. */
const pressure = options.smoke ? { perSecond: 20, midway: 30 } : { perSecond: 30, midway: 60 };
/** Steps of seconds, so that most runs have one under way. */
const recoveryLoad = { perSecond: 60, events: 360, midway: 600, runsMin: 100, stepMsMax: 5_000 };
const midwayWithinMs = 60_000;
const completedWithinMs = 120_000;
/** What clients had to keep meanwhile comes all at once. */
const pressureCompletedWithinMs = 300_000;
const smokeHoldSeconds = 10;
const program = createProgram('faults');

await program.run(main);

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
    .option('--hold-seconds <n>', 'how long the faults of back-pressure last', wholeNumber(2, 3_600))
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
      results.map(({ failures, refusals, peakMegabytes, recovery: _recovery, ...result }) => ({
        ...result,
        peakMegabytes: Math.max(0, ...Object.values(peakMegabytes)),
        refusals: Object.values(refusals).reduce((sum, count) => sum + count, 0),
        failures: failures.length,
      })),
    );
  }
  return results.every(({ failures }) => failures.length === 0);
}

function play(scenario: Scenario): Promise<Result> {
  return program.onStage(async (stage) => {
    try {
      const result = await run(scenario, await setScene(scenario, stage));
      stage.isKept = result.failures.length > 0;
      return result;
    } catch (error) {
      stage.isKept = true;
      // What could not even be played is a failure with its reason; the others are still played.
      return unplayed(scenario, error);
    }
  });
}

async function setScene(scenario: Scenario, stage: Stage): Promise<Scene> {
  const { folder, lifecycle } = stage;
  const platform = await startSilentPlatform(stage, {
    env: { ...scenario.env, IRONFLOW_STREAMS: JSON.stringify(scenario.streams ?? {}) },
    processes: { replicas: scenario.replicas, replicasOf: scenario.replicasOf ?? {} },
  });
  const { natsUrl, ownerUrl } = platform.servers;
  const ledgerFile = join(folder, 'ledger.jsonl');
  const env = {
    ...appEnvOf(platform),
    LEDGER: ledgerFile,
    WITH_CRON: String(scenario.cron === true),
    ...(scenario.recovery === undefined ? {} : { STEP_MS_MAX: String(recoveryLoad.stepMsMax) }),
  };
  const startApps = async (): Promise<Child[]> => {
    const workers = Array.from({ length: scenario.workers ?? 1 }, () => 'fault-worker');
    const started: Child[] = [];
    for (const name of [...workers, 'fault-endpoint']) started.push(await startChild(programOf(name), env));
    return started;
  };
  let apps = await startApps();
  lifecycle.onStop('apps', async () => void (await Promise.all(apps.map((app) => app.end('SIGKILL')))));
  const database = openDatabase(stage, ownerUrl);
  // It provisions too: with other sizes it would undo what the services were told.
  const { streams: overrides = {} } = scenario;
  const jetstream = await connectJetStream({ url: natsUrl, name: 'faults', replicas: 1, overrides });
  lifecycle.onStop('jetstream', () => jetstream.close());
  return {
    platform,
    database,
    jetstream,
    ledgerFile,
    worker: () => apps[0]!,
    restartWorker: async () => {
      apps[0] = await startChild(programOf('fault-worker'), env);
    },
    apps: () => apps,
    restartApps: async () => {
      apps = await startApps();
    },
    holdSeconds: (usual) => options.holdSeconds ?? (options.smoke ? smokeHoldSeconds : usual),
    workerlessSeconds: options.smoke ? Math.min(15, options.workerlessSeconds) : options.workerlessSeconds,
  };
}

async function run(scenario: Scenario, scene: Scene): Promise<Result> {
  const { platform, database } = scene;
  const fromMs = Date.now();
  const { perSecond, events, midway: midwayMin } = loadOf(scenario);
  const emission = startEmission({
    ...platform,
    perSecond,
    count: scenario.emitsMeanwhile === true ? undefined : events,
    ...(scenario.isPressure === true ? { answeredWithinMs: scene.holdSeconds(120) * 1_000 + 60_000 } : {}),
  });
  const midway = await enoughMidway(scene, midwayMin);
  say(`${midway} runs are mid-way`);
  const startedMs = performance.now();
  const injection = await scenario.inject(scene);
  // What a client sends right after a fault has to be taken too.
  await emission.emit();
  const eventIds = [...new Set(await emission.finish())];
  const ended = await waitForRuns(scene, eventIds.length * 2, scenario);
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
  failures.push(...impoliteRefusals(scenario, emission.refusals));
  const recovery = await recoveryAfter(scenario, injection, { database, lines, stored });
  failures.push(...(recovery?.failures ?? []));
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
    peakMegabytes: await peaksOf(scene),
    ...(recovery === undefined ? {} : { recovery: recovery.measured }),
    failures,
  };
}

function loadOf({ isPressure, recovery }: Scenario): { perSecond: number; events: number; midway: number } {
  if (recovery !== undefined) return recoveryLoad;
  return isPressure === true ? { ...load, ...pressure } : load;
}

/** Whoever is refused under pressure is told to come again, and when. */
function impoliteRefusals({ isPressure }: Scenario, refusals: Record<string, number>): string[] {
  if (isPressure !== true) return [];
  return Object.entries(refusals)
    .filter(([status]) => status !== politeRefusal)
    .map(([status, count]) => `${count} requests were refused with: ${status}`);
}

async function recoveryAfter(
  { recovery }: Scenario,
  { struckAtMs }: Injection,
  { database, lines, stored }: { database: Database; lines: LedgerLine[]; stored: StoredTimes },
): Promise<{ measured: Recoveries; failures: string[] } | undefined> {
  if (recovery === undefined || struckAtMs === undefined) return undefined;
  const measured = await measureRecovery(database, recoveryTimes(lines, stored, struckAtMs));
  return { measured, failures: missedGoals(measured, recovery, recoveryLoad.runsMin) };
}

async function peaksOf({ platform }: Scene): Promise<Record<string, number>> {
  const peaks: Record<string, number> = {};
  for (const { service, pid } of platform.fleet!.members) {
    peaks[service] = Math.max(peaks[service] ?? 0, await peakMegabytesOf(pid));
  }
  return peaks;
}

function enoughMidway({ database }: Scene, midwayMin: number): Promise<number> {
  return eventually(
    async () => {
      const { midway } = await countRuns(database);
      if (midway < midwayMin) throw new Error(`${midway} runs are mid-way`);
      return midway;
    },
    { timeoutMs: midwayWithinMs },
  );
}

async function waitForRuns(
  { database }: Scene,
  wanted: number,
  { isPressure }: Scenario,
): Promise<{ completed: number; failures: string[] }> {
  const failures: string[] = [];
  await eventually(
    async () => {
      const { completed, failed } = await countRuns(database);
      if (completed + failed < wanted) throw new Error(`${completed} of ${wanted} runs are completed`);
    },
    { timeoutMs: isPressure === true ? pressureCompletedWithinMs : completedWithinMs },
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
    peakMegabytes: {},
    failures: [messageOf(error)],
  };
}

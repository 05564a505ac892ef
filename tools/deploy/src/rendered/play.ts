/**
 * The rendered chart as processes, and what is done to them under load: a node of NATS is lost and replaced by an empty one, executors
 * become more and fewer again, a backup is made. Nothing may be lost and nothing repeated.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  appEnvOf,
  countRuns,
  countUnserved,
  examine,
  faultApps,
  readJournalTimes,
  readLedger,
  startChild,
  startEmission,
} from '@ironflow/bench';
import type { Child, RunCounts } from '@ironflow/bench';
import { createDatabase } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import { runExample } from '@ironflow/example-github-triage';
import { connectJetStream } from '@ironflow/jetstream';
import { createOperatorClient } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { openScene } from './scene.js';
import type { Scene, SceneOptions } from './scene.js';
import type { PodEnd } from './pod-process.js';

export interface PlayOptions extends SceneOptions {
  perSecond: number;
  /** How long each phase lasts at least. */
  phaseSeconds: number;
}

export interface PlayReport extends RunCounts {
  pods: Record<string, number>;
  secondsToReady: number;
  demo: { isOk: boolean };
  events: number;
  refusals: Record<string, number>;
  stepsBegun: number;
  /** Steps that began after their result was stored. */
  violations: number;
  /** `repeats`: attempts of steps that began once more meanwhile, as their result was not stored yet. */
  natsNode: { secondsToReady: number; repeats: number };
  executors: { most: number; ends: PodEnd[]; repeats: number };
  /** By the CronJob's container, under the load. */
  backup: { seconds: number };
  /** Of containers, while the load lasted. */
  restarts: number;
  failures: string[];
}

const completedWithinMs = 180_000;
const executorsMost = 4;

export async function play(options: PlayOptions): Promise<PlayReport> {
  const { say, folder, lifecycle } = options;
  const startedMs = performance.now();
  const scene = await openScene(options);
  const secondsToReady = secondsSince(startedMs);
  // What had to be tried again until everything was there is a cluster's everyday life.
  const restartsBefore = countRestarts(scene);
  say(`all pods are ready after ${secondsToReady} s; ${scene.url}`);
  const demo = await runExample({
    ...{ ironflowUrl: scene.url, ...(await onboard(scene, 'demo')) },
    ...{ dataFolder: join(folder, 'demo'), host: scene.hostAddress, lifecycle, say },
  });
  const database = createDatabase({ url: scene.ownerUrl, applicationName: 'chart-local', maxConnections: 2 });
  lifecycle.onStop('database', () => database.close());
  const ledgerFile = join(folder, 'ledger.jsonl');
  const loaded = await onboard(scene, 'load');
  const apps = await startApps(scene, { tenant: loaded, ledgerFile });
  lifecycle.onStop('apps', () => Promise.all(apps.map((app) => app.end('SIGKILL'))));
  const emission = startEmission({
    ...{ url: scene.url, apiKey: loaded.apiKey, perSecond: options.perSecond, count: undefined },
    answeredWithinMs: 120_000,
  });
  const changes = await change(scene, options, { database, ledgerFile });
  const { eventIds, failures } = await settle(emission.finish(), database);
  const ledger = examine(readLedger(ledgerFile), await readStored(scene, database));
  const report = {
    pods: countPods(scene),
    secondsToReady,
    demo: { isOk: demo.ok },
    events: eventIds.length,
    ...(await countRuns(database)),
    refusals: emission.refusals,
    stepsBegun: ledger.begun,
    violations: ledger.violations.length,
    ...changes,
    restarts: countRestarts(scene) - restartsBefore,
  };
  const unserved = await countUnserved(database, eventIds);
  return { ...report, failures: [...failures, ...problemsOf(report, unserved)] };
}

async function change(
  { cluster, names }: Scene,
  { phaseSeconds, say }: PlayOptions,
  { database, ledgerFile }: { database: Database; ledgerFile: string },
): Promise<Pick<PlayReport, 'natsNode' | 'executors' | 'backup'>> {
  const repeatsUntilNow = (): number => examine(readLedger(ledgerFile), new Map()).repeats;
  const phase = async (what: string): Promise<void> => {
    await pause(phaseSeconds * 1_000);
    say(`${what}: ${JSON.stringify(await countRuns(database))}`);
  };
  const { executor, nats, backup } = names;
  const before = cluster.pods.filter(({ pod }) => pod.owner === executor).length;
  await phase(`${before} executors`);
  const lostMs = performance.now();
  await cluster.replaceEmpty(`${nats}-0`);
  await cluster.scale(nats);
  const secondsToReady = secondsSince(lostMs);
  await phase(`a node of NATS was lost, and is back after ${secondsToReady} s`);
  const repeats = repeatsUntilNow();
  const ends = await cluster.scale(executor, 1);
  await cluster.scale(executor, executorsMost);
  await phase(`${executorsMost} executors`);
  ends.push(...(await cluster.scale(executor, 1)));
  await phase('1 executor');
  const backupMs = performance.now();
  await cluster.runJob(backup);
  return {
    backup: { seconds: secondsSince(backupMs) },
    natsNode: { secondsToReady, repeats },
    executors: { most: executorsMost, ends, repeats: repeatsUntilNow() - repeats },
  };
}

interface Tenant {
  apiKey: string;
  signingKey: string;
}

async function onboard(scene: Scene, env: string): Promise<Tenant> {
  const operator = createOperatorClient({ ironflowUrl: scene.url, operatorKey: scene.operatorKey });
  const { environments } = await operator.tenants.create({ project: 'local', environments: [env] });
  const { apiKey, signingKey } = environments[0]!;
  if (apiKey === undefined || signingKey === undefined) throw new Error(`${env} was there already`);
  return { apiKey, signingKey };
}

async function startApps(
  { url, hostAddress }: Scene,
  { tenant, ledgerFile }: { tenant: Tenant; ledgerFile: string },
): Promise<Child[]> {
  const env = { ...appEnvOf({ ...tenant, url }), LEDGER: ledgerFile, HOST: hostAddress };
  return Promise.all(Object.values(faultApps).map((app) => startChild(app, env)));
}

async function settle(
  emitted: Promise<string[]>,
  database: Database,
): Promise<{ eventIds: string[]; failures: string[] }> {
  const eventIds = [...new Set(await emitted)];
  const failures: string[] = [];
  await eventually(
    async () => {
      const { completed, failed } = await countRuns(database);
      if (completed + failed < eventIds.length * 2) throw new Error(`${completed} runs are completed`);
    },
    { timeoutMs: completedWithinMs, intervalMs: 500 },
  ).catch((error: unknown) => failures.push(messageOf(error)));
  return { eventIds, failures };
}

async function readStored({ nats, folder }: Scene, database: Database) {
  const caFile = join(folder, 'nats-ca.crt');
  await writeFile(caFile, nats.ca);
  const jetstream = await connectJetStream({
    ...{ url: nats.url, tls: { caFile }, credsFile: nats.credsFile },
    ...{ name: 'chart-local', replicas: nats.replicas },
  });
  const { connection } = jetstream;
  return readJournalTimes({ connection, database, onlyKept: false }).finally(() => jetstream.close());
}

function countPods({ cluster }: Scene): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { pod } of cluster.pods) counts[pod.owner] = (counts[pod.owner] ?? 0) + 1;
  return counts;
}

function countRestarts({ cluster }: Scene): number {
  return cluster.pods.reduce((sum, { restarts }) => sum + restarts, 0);
}

/** Pure: in sentences; empty if nothing is wrong. */
export function problemsOf(report: Omit<PlayReport, 'failures'>, unserved: number): string[] {
  const { events, runs, violations, restarts, demo, executors } = report;
  const rough = executors.ends.filter(({ exitCode, wasKilled }) => exitCode !== 0 || wasKilled);
  return [
    ...(demo.isOk ? [] : ['the demo did not get what it should']),
    ...(unserved > 0 ? [`${unserved} of ${events} events did not get their two runs`] : []),
    ...(runs === events * 2 ? [] : [`there are ${runs} runs of ${events} events`]),
    ...(violations > 0 ? [`${violations} steps began after they were stored`] : []),
    ...(restarts > 0 ? [`containers were started anew ${restarts} times`] : []),
    ...(rough.length > 0 ? [`${rough.length} executors did not end in their grace`] : []),
  ];
}

function secondsSince(startedMs: number): number {
  return Math.round((performance.now() - startedMs) / 100) / 10;
}

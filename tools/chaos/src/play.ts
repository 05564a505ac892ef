/** One run of the suite from its first process to its report. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { earliest, readJournalTimes, readLedger, usageOf } from '@ironflow/bench';
import { messageOf } from '@ironflow/errors';
import type { Lifecycle } from '@ironflow/service';
import { eventually } from '@ironflow/testing';
import { countRepeats } from './checks/steps.js';
import { createRequester } from './client.js';
import type { Requester } from './client.js';
import type { Facts, Leftover } from './facts.js';
import { createInjector } from './injection.js';
import type { Injection } from './injection.js';
import { findLeftovers } from './leftovers.js';
import { startLoad } from './load.js';
import type { Load } from './load.js';
import type { PlannedOperation } from './operations.js';
import { playOperations } from './operator.js';
import type { Operations } from './operator.js';
import { judge } from './oracle.js';
import type { PlannedFault } from './plan.js';
import { createProvider } from './provider.js';
import { readDatabase } from './read-facts.js';
import { measureRecoveries } from './recovery.js';
import { countRunsByFunction, summarizeRecoveries } from './report.js';
import type { Report } from './report.js';
import { setStage } from './stage.js';
import type { Stage } from './stage.js';
import { startSubscriber } from './subscriber.js';
import type { Subscriber } from './subscriber.js';
import { watchStage } from './watch.js';
import type { Watch } from './watch.js';

export interface ChaosOptions {
  minutes: number;
  seed: number;
  rate: number;
  replicas: number;
  cluster: boolean;
  syncAlways: boolean;
  plan: readonly PlannedFault[];
  operations: readonly PlannedOperation[];
  folder: string;
  lifecycle: Lifecycle;
  say: (line: string) => void;
}

/** Beyond every timer of the load and every sweep of the platform: what has not changed for so long stays. */
const quietWithinMs = 120_000;
/** What still changes then goes round for ever, however slow the machine is. */
const restWithinMs = 600_000;
const lookEveryMs = 500;
const firedWithinMs = 120_000;

export async function playChaos(options: ChaosOptions): Promise<Report> {
  const { seed, rate, cluster, lifecycle, say } = options;
  const stage = await setStage({ ...options, isCluster: cluster });
  const fromMs = Date.now();
  const memoryAtFirst = await readMemory(stage);
  const requester = createRequester(stage.platform);
  const provider = await createProvider(requester);
  const loopDelay = monitorEventLoopDelay({ resolution: 10 });
  loopDelay.enable();
  const injector = createInjector(stage, say);
  lifecycle.onStop('injector', () => injector.stop());
  const watch = watchStage(stage, injector, say);
  lifecycle.onStop('watch', () => watch.stop());
  const subscriber = startSubscriber(stage.platform);
  lifecycle.onStop('subscriber', () => subscriber.stop());
  const { environmentId, ledgerFile } = stage;
  const load = startLoad({ requester, provider, environmentId, ledgerFile, seed, perSecond: rate });
  const lasted = new Promise((resolve) => setTimeout(resolve, options.minutes * 60_000));
  const { fragile } = stage;
  const [injection, operations] = await Promise.all([
    injector.play(options.plan),
    playOperations(options.operations, { requester, fragile, say }),
  ]);
  await lasted;
  say(`${load.accepted.events.length} events were accepted; no more are sent`);
  loopDelay.disable();
  const memoryAtLast = await readMemory(stage);
  await load.finish();
  const untilMs = Date.now();
  await firedUntil(ledgerFile, untilMs);
  await endSchedules(requester);
  const quiet = await comeToRest(stage);
  say(quiet.afterMs === undefined ? 'it does not come to rest' : `at rest after ${quiet.afterMs} ms`);
  await subscriber.finish();
  const facts = await readFacts(stage, {
    load,
    injection,
    operations,
    watch,
    subscriber,
    leftovers: quiet.leftovers,
    fromMs,
    untilMs,
  });
  return reportOf(options, {
    stage,
    facts,
    injection,
    operations,
    requester,
    quietAfterMs: quiet.afterMs,
    memoryAtFirst,
    memoryAtLast,
    ownDelayMs: Math.round(loopDelay.percentile(99) / 1e6),
  });
}

/** That it does not is for the oracle to say. */
async function firedUntil(ledgerFile: string, untilMs: number): Promise<void> {
  await eventually(
    () => {
      const times = readLedger(ledgerFile).flatMap(({ what, step }) =>
        what === 'fired' ? [Date.parse(step)] : [],
      );
      if (!times.some((time) => time >= untilMs)) throw new Error('the last firings are missing');
    },
    { timeoutMs: firedWithinMs, intervalMs: 1_000 },
  ).catch(() => undefined);
}

/** They would keep everything busy for ever. */
async function endSchedules(requester: Requester): Promise<void> {
  const { body } = await requester.send({ method: 'GET', path: '/v1/schedules' });
  for (const { id } of (body as { schedules: { id: string }[] }).schedules) {
    const { status } = await requester.send({ method: 'POST', path: `/v1/schedules/${id}/pause` });
    if (status >= 300) throw new Error(`the schedule ${id} could not be paused: ${status}`);
  }
}

async function comeToRest({
  database,
  jetstream,
}: Stage): Promise<{ afterMs: number | undefined; leftovers: Leftover[] }> {
  const startedMs = performance.now();
  let changedMs = startedMs;
  let leftovers: Leftover[] = [];
  for (;;) {
    const found = await findLeftovers(database, jetstream).catch((error: unknown) => [
      { what: messageOf(error), count: 1, examples: [] },
    ]);
    const nowMs = performance.now();
    if (found.length === 0) return { afterMs: Math.round(nowMs - startedMs), leftovers: [] };
    if (!isDeepStrictEqual(found, leftovers)) changedMs = nowMs;
    leftovers = found;
    const isStuck = nowMs - changedMs > quietWithinMs;
    if (isStuck || nowMs - startedMs > restWithinMs) return { afterMs: undefined, leftovers };
    await delay(lookEveryMs);
  }
}

interface Gathered {
  load: Load;
  injection: Injection;
  operations: Operations;
  watch: Watch;
  subscriber: Subscriber;
  leftovers: Leftover[];
  fromMs: number;
  untilMs: number;
}

async function readFacts(stage: Stage, gathered: Gathered): Promise<Facts> {
  const { database, jetstream, ledgerFile } = stage;
  const { load, injection, operations, watch, subscriber, leftovers, fromMs, untilMs } = gathered;
  const rows = await readDatabase(database);
  const wipedUntilMs = injection.faults.find(({ name }) => name === 'wipe-nats')?.endedAtMs ?? 0;
  const young = new Set(
    rows.runs.filter(({ createdAtMs }) => createdAtMs > wipedUntilMs).map(({ id }) => id),
  );
  const journal = await readJournalTimes({
    connection: jetstream.connection,
    database,
    // What was created after the wipe has lost nothing.
    onlyKept: injection.accepted !== undefined && ((runId) => !young.has(runId)),
  });
  return {
    ...rows,
    accepted: load.accepted,
    ledger: readLedger(ledgerFile),
    journal: new Map([...journal].filter(([key]) => young.has(key.split(' ')[0]!))),
    stored: earliest(journal, injection.accepted ?? new Map<string, number>()),
    endsHeard: watch.endsHeard,
    messages: subscriber.heard,
    operations: operations.done,
    breakerChanges: watch.breakerChanges,
    faults: injection.faults,
    wipedUntilMs,
    deaths: watch.deaths,
    leftovers,
    schedule: { fromMs, untilMs },
  };
}

interface Played {
  stage: Stage;
  facts: Facts;
  injection: Injection;
  operations: Operations;
  requester: Requester;
  quietAfterMs: number | undefined;
  memoryAtFirst: Memory;
  memoryAtLast: Memory;
  ownDelayMs: number;
}

function reportOf(options: ChaosOptions, played: Played): Report {
  const { facts, injection, stage, memoryAtFirst, memoryAtLast } = played;
  const recoveries = measureRecoveries(injection.faults, probesOf(facts));
  const proxyCounts = stage.proxies.map(({ counts }) => counts);
  const sum = (name: keyof (typeof proxyCounts)[number]): number =>
    proxyCounts.reduce((total, counts) => total + counts[name], 0);
  return {
    seed: options.seed,
    settings: {
      minutes: options.minutes,
      nodes: stage.natsServers.length,
      replicas: options.replicas,
      syncAlways: options.syncAlways,
      eventsPerSecond: options.rate,
      faults: [...new Set(options.plan.map(({ kind }) => kind.name))],
    },
    events: { accepted: facts.accepted.events.length, stored: facts.events.length },
    runs: countRunsByFunction(facts),
    pinned: facts.runs.filter(({ buildId }) => buildId !== null).length,
    steps: countRepeats(facts),
    refusals: played.requester.refusals,
    network: {
      droppedPublishAcks: sum('droppedPublishAcks'),
      droppedDeliveryAcks: sum('droppedDeliveryAcks'),
      duplicates: sum('duplicates'),
    },
    faults: injection.faults.map(({ recoversFrom: _, ...fault }, index) => ({
      ...fault,
      recoveredMs: Math.round(recoveries[index]!.ms),
    })),
    recovery: summarizeRecoveries(recoveries),
    operations: played.operations.done,
    quietAfterMs: played.quietAfterMs,
    ownDelayMs: played.ownDelayMs,
    memory: Object.fromEntries(
      Object.keys(memoryAtLast).map((name) => [
        name,
        { atFirstMegabytes: memoryAtFirst[name] ?? 0, atLastMegabytes: memoryAtLast[name]! },
      ]),
    ),
    violations: judge(facts),
    failures: [...injection.failures, ...played.operations.failures],
  };
}

/** Those that a pause delayed tell nothing of faults. */
function probesOf({ accepted, runs, operations }: Facts) {
  const pauses = operations.filter(({ name }) => name === 'pause-environment');
  const endedAtMs = new Map(runs.map((run) => [run.eventId, run.endedAtMs]));
  return accepted.events.flatMap(({ id, sentAtMs, isProbe }) => {
    const ended = endedAtMs.get(id) ?? null;
    if (!isProbe || ended === null) return [];
    const isPaused = pauses.some(({ fromMs, untilMs }) => sentAtMs <= untilMs && ended >= fromMs);
    return isPaused ? [] : [{ sentAtMs, endedAtMs: ended }];
  });
}

type Memory = Record<string, number>;

/** Resident megabytes of each process; one that was started again meanwhile begins anew. */
async function readMemory({ services, workers, endpoint, natsServers }: Stage): Promise<Memory> {
  const processes = [
    ...[...services, ...workers, endpoint].map(({ name, pid }) => ({ name, pid })),
    ...natsServers.map(({ serverName, pid }) => ({ name: serverName, pid })),
  ];
  const usages = await Promise.all(processes.map(({ pid }) => usageOf(pid, { withChildren: false })));
  return Object.fromEntries(
    processes.map(({ name }, index) => [name, Math.round(usages[index]!.rssMegabytes)]),
  );
}

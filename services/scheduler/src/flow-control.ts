/**
 * Flow control, done: one pass over an environment's queue reads, decides (flow-arrivals.ts, flow-admissions.ts) and writes, in one
 * transaction; what it lets go on is published after the commit, each at its time.
 *
 * F1 Whatever may change a decision asks for a pass: runs that arrive or wake, slots that are given back, a time that comes, a
 *    registry that changes, a worker that connects. Asking is cheap: what comes during a pass is heard by the next one.
 * F2 All of that may be lost: the sweep finds every environment that has something to decide.
 * F3 What was let go on and not published is found by the sweep of overdue runs: its run has been woken.
 */
import type { FlowDue, FlowPass, FlowStore, RegistryReader, RunToActivate } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import type { FlowControl as FlowConfig, Registry } from '@ironflow/schema';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import { activationOf } from './activation-message.js';
import type { Activator } from './activator.js';
import { decideAdmissions, place } from './flow-admissions.js';
import type { Admitted, AdmissionsDecision } from './flow-admissions.js';
import { decideArrivals, stateKey, statesNeeded } from './flow-arrivals.js';
import type { ArrivalsDecision } from './flow-arrivals.js';
import type { SchedulerMetrics } from './metrics.js';
import type { WorkerPresence } from './worker-presence.js';

export interface FlowControl {
  /** Something of the environment may have changed: `freed` slots, or, with `everything`, whatever its runs wait for. */
  ask(environmentId: string, about?: { freed?: readonly string[]; everything?: boolean }): void;
  /** Of runs that were woken, those that may go on at once; the others come into the queue. Rejects if Postgres is away. */
  goOn(runs: readonly RunToActivate[]): Promise<RunToActivate[]>;
  /** Asks for every environment that has something to decide; answers how many. */
  sweep(): Promise<number>;
  stop(): Promise<void>;
}

export interface FlowControlOptions {
  store: FlowStore;
  registries: RegistryReader;
  presence: Pick<WorkerPresence, 'isPresent'>;
  activator: Pick<Activator, 'publish'>;
  notices: Pick<Notices, 'publishRun' | 'publishWaits'>;
  /** Runs that are to make room for others. */
  requestStop: (runIds: readonly string[]) => Promise<void>;
  metrics: Pick<SchedulerMetrics, 'flow'>;
  logger: Logger;
  clock: Clock;
}

/** Each holds a connection while it runs. */
const passesAtOnceMax = 3;
const arrivalsMax = 500;
const lanesMax = 200;
const entriesPerLaneMax = 50;
const admittedMax = 500;
/** Of one slot that was given back; those behind are asked when the next one is. */
const lanesPerSlotMax = 20;
const lanesPerSlotAfterChangeMax = 1_000;
const retryMs = 500;
const farMs = 5_000;

interface Asked {
  freed: Set<string>;
  everything: boolean;
  isSweep: boolean;
}

export function createFlowControl(options: FlowControlOptions): FlowControl {
  const { store, logger, clock } = options;
  const asked = new Map<string, Asked>();
  const running = new Map<string, Promise<void>>();
  const timers = new Map<string, { atMs: number; handle: TimerHandle }>();
  const starting = new Set<TimerHandle>();
  let isStopped = false;

  const publishAt = (admitted: readonly Admitted[], nowMs: number): void => {
    const now: RunToActivate[] = [];
    for (const { entry, startAtMs } of admitted) {
      if (startAtMs <= nowMs) now.push(entry.run);
      else {
        const handle = clock.setTimeout(() => {
          starting.delete(handle);
          void options.activator.publish([activationOf(entry.run)], { replacing: true });
        }, startAtMs - nowMs);
        starting.add(handle);
      }
    }
    // The activation before it may not have been acknowledged yet.
    if (now.length > 0) void options.activator.publish(now.map(activationOf), { replacing: true });
  };
  const arm = (environmentId: string, inMs: number): void => {
    if (isStopped) return;
    const atMs = clock.now() + Math.max(1, Math.ceil(Math.min(inMs, farMs)));
    const known = timers.get(environmentId);
    if (known !== undefined && known.atMs <= atMs) return;
    known?.handle.cancel();
    const handle = clock.setTimeout(() => {
      timers.delete(environmentId);
      ask(environmentId);
    }, atMs - clock.now());
    timers.set(environmentId, { atMs, handle });
  };
  const runPass = async (environmentId: string, about: Asked): Promise<void> => {
    try {
      const registry = await options.registries.get(environmentId);
      const outcome = await store.pass(environmentId, (pass) => runOne(options, pass, { registry, about }));
      if (outcome.kind === 'stale') {
        options.registries.invalidate(environmentId);
        return ask(environmentId, about);
      }
      publishAt(outcome.admitted, outcome.nowMs);
      announceSkipped(options, outcome);
      options.metrics.flow(outcome);
      if (outcome.stops.length > 0) await options.requestStop(outcome.stops);
      if (outcome.isCut) return ask(environmentId);
      const [due] = await store.due(environmentId);
      if (due?.inMs !== undefined) arm(environmentId, due.inMs);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'a queue cannot be decided now; it is tried again');
      arm(environmentId, retryMs);
    }
  };
  const begin = (): void => {
    for (const [environmentId, about] of asked) {
      if (isStopped || running.size >= passesAtOnceMax) return;
      if (running.has(environmentId)) continue;
      asked.delete(environmentId);
      const pass = runPass(environmentId, about).finally(() => {
        running.delete(environmentId);
        begin();
      });
      running.set(environmentId, pass);
    }
  };
  const ask = (environmentId: string, about: Partial<Asked> | { freed?: readonly string[] } = {}): void => {
    const known = asked.get(environmentId) ?? { freed: new Set(), everything: false, isSweep: false };
    for (const slot of about.freed ?? []) known.freed.add(slot);
    if ('everything' in about && about.everything === true) known.everything = true;
    if ('isSweep' in about && about.isSweep === true) known.isSweep = true;
    asked.set(environmentId, known);
    begin();
  };

  return {
    ask,
    goOn: async (runs) => {
      const limited = runs.filter((run) => run.limited === true);
      if (limited.length === 0) return [...runs];
      const queued = await store.requeue(limited.map(({ runId }) => runId));
      for (const environmentId of new Set(queued.values())) ask(environmentId);
      return runs.filter(({ runId }) => !queued.has(runId));
    },
    sweep: async () => {
      const due: FlowDue[] = await store.due();
      for (const { environmentId, inMs } of due) {
        if (inMs === undefined || inMs <= 0) ask(environmentId, { isSweep: true });
        else arm(environmentId, inMs);
      }
      return due.length;
    },
    stop: async () => {
      isStopped = true;
      for (const { handle } of timers.values()) handle.cancel();
      for (const handle of starting) handle.cancel();
      await Promise.all(running.values());
    },
  };
}

type PassOutcome =
  | { kind: 'stale' }
  | ({ kind: 'decided'; nowMs: number; isCut: boolean; stops: readonly string[] } & SkippedRuns & {
        admitted: readonly Admitted[];
      });

interface SkippedRuns {
  skipped: { run: RunToActivate; awaitedBy: readonly string[] }[];
}

async function runOne(
  { presence }: FlowControlOptions,
  pass: FlowPass,
  { registry, about }: { registry: Registry; about: Asked },
): Promise<PassOutcome> {
  if (pass.registryVersion !== registry.version) return { kind: 'stale' };
  const { nowMs } = pass;
  const configs = new Map<string, FlowConfig>();
  for (const [functionId, { config }] of registry.functions) configs.set(functionId, config);

  const entries = await pass.arrivals(arrivalsMax);
  const states = await pass.states(statesNeeded(entries));
  const holders = await pass.holders(states.flatMap(({ runId }) => runId ?? []));
  const arrivals = decideArrivals({ nowMs, entries, configs, states, holders });
  const placed = arrivals.queued.map((entry) => place(entry, configs.get(entry.functionId)));

  if (about.everything) await pass.unblockAll(lanesPerSlotAfterChangeMax);
  else if (about.isSweep) await pass.unblockAll(1);
  const used = await pass.usage([...new Set(placed.flatMap(({ slots }) => slots.map(({ slot }) => slot)))]);
  // Those that came before go before: where there is room, lanes that wait for it are asked as well.
  const roomy = placed
    .flatMap(({ slots }) => slots)
    .filter(({ slot, limit }) => (used.get(slot) ?? 0) < limit);
  await pass.unblock([...new Set([...about.freed, ...roomy.map(({ slot }) => slot)])], lanesPerSlotMax);
  const names = [...new Set(placed.map(({ lane }) => lane))];
  const lanes = await pass.lanes({ names, limit: lanesMax, entriesMax: entriesPerLaneMax });
  const stored = lanes.flatMap((lane) =>
    lane.entries.map((entry) => place(entry, configs.get(entry.functionId))),
  );
  const all = [...placed, ...stored];
  const usage = await pass.usage([...new Set(all.flatMap(({ slots }) => slots.map(({ slot }) => slot)))]);
  const throttleKeys = all.flatMap(({ entry, throttle }) =>
    throttle === undefined ? [] : [stateKey(entry, 'throttle', throttle)],
  );
  const throttles = await pass.states(throttleKeys);

  const decision = decideAdmissions({
    ...{ nowMs, configs, placed, lanes, usage, throttles },
    isPaused: (functionId) => pass.isPaused || pass.pausedFunctions.has(functionId),
    isServed: ({ run }) => run.mode === 'push' || presence.isPresent(laneOf(run)),
    room: admittedMax,
  });
  return writePass(pass, { entries, holders, arrivals, decision });
}

async function writePass(
  pass: FlowPass,
  of: {
    entries: readonly { runId: string; run: RunToActivate }[];
    holders: ReadonlyMap<string, { entry: { run: RunToActivate } }>;
    arrivals: ArrivalsDecision;
    decision: AdmissionsDecision;
  },
): Promise<PassOutcome> {
  const { arrivals, decision } = of;
  const { skipped, held, events, removed, stops } = arrivals;
  const written = await pass.write({
    ...{ skipped, held, events, removed },
    queued: decision.queued.map(({ entry, lane }) => ({ runId: entry.runId, lane })),
    admitted: decision.admitted.map(({ entry, slots }) => ({
      runId: entry.runId,
      resumed: entry.resumed,
      slots,
    })),
    lanes: decision.lanes,
    emptied: decision.emptied,
    states: [...arrivals.states, ...decision.throttles],
  });
  const runs = new Map(of.entries.map(({ runId, run }) => [runId, run]));
  for (const [runId, { entry }] of of.holders) runs.set(runId, entry.run);
  return {
    kind: 'decided',
    nowMs: pass.nowMs,
    isCut: decision.isCut,
    stops,
    admitted: decision.admitted.filter(({ entry }) => written.admitted.has(entry.runId)),
    skipped: written.skipped.map(({ runId, awaitedBy }) => ({ run: runs.get(runId)!, awaitedBy })),
  };
}

function announceSkipped({ notices }: FlowControlOptions, { skipped }: SkippedRuns): void {
  for (const { run, awaitedBy } of skipped) {
    notices.publishRun(
      { ...run, status: 'skipped', journalSeq: 0, wake: 0, served: 0, steps: [] },
      'skipped',
    );
    for (const runId of awaitedBy) notices.publishWaits({ scope: run.scope, runId });
  }
}

function laneOf({ scope, appId, buildId }: RunToActivate) {
  return { environmentId: scope.environmentId, appId, ...(buildId === undefined ? {} : { buildId }) };
}

/**
 * Flow control, done: one pass over an environment's queue reads, decides (flow-arrivals.ts, flow-admissions.ts) and writes, in one
 * transaction; what it lets go on is published after the commit, each at its time.
 *
 * F1 Whatever may change a decision asks for a pass: runs that arrive or wake, slots that are given back, a time that comes, a
 *    registry that changes, a worker that connects. Asking is cheap: what comes during a pass is heard by the next one.
 * F2 All of that may be lost: the sweep finds every environment that has something to decide.
 * F3 What was let go on and not published is found by the sweep of overdue runs: its run has been woken.
 */
import type { FlowStore, RegistryReader, RunToActivate } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import { activationOf } from './activation-message.js';
import type { Activator } from './activator.js';
import type { DebounceView } from './debounce-view.js';
import type { Admitted } from './flow-admissions.js';
import { runPass } from './flow-pass.js';
import type { PassReasons, Skipped } from './flow-pass.js';
import type { SchedulerMetrics } from './metrics.js';
import type { WorkerPresence } from './worker-presence.js';

export interface FlowControl {
  /** Something of the environment may have changed. */
  ask(environmentId: string, reasons: PassReasons): void;
  /** What lanes of it wait for may stand no more: rules, a pause, workers have changed. */
  recheck(environmentId: string): void;
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
  debounceView: Pick<DebounceView, 'show'>;
  notices: Pick<Notices, 'publishRun' | 'publishWaits'>;
  /** Runs that are to make room for others. */
  requestStop: (runIds: readonly string[]) => Promise<void>;
  metrics: Pick<SchedulerMetrics, 'flow'>;
  logger: Logger;
  clock: Clock;
}

/** Each holds a connection while it runs. */
const passesAtOnceMax = 3;
const retryMs = 500;
/** The sweep comes as often. */
const armedMsMax = 5_000;
/** What is due and cannot be decided, since its run is about to end, is looked at ever more seldom. */
const idleMsMax = 500;

export function createFlowControl(options: FlowControlOptions): FlowControl {
  const { store, logger } = options;
  const asked = new Map<string, PassReasons>();
  const running = new Map<string, Promise<void>>();
  const publish = createTimedPublish(options);
  const alarms = createAlarms(options.clock, (environmentId) => ask(environmentId, {}));
  const retries = new Set<TimerHandle>();
  const pauseAfter = createPauses();
  let isStopped = false;

  const decide = async (environmentId: string, reasons: PassReasons): Promise<void> => {
    try {
      const registry = await options.registries.get(environmentId);
      const outcome = await store.pass(environmentId, (pass) =>
        runPass(pass, { ...options, environmentId, registry, reasons }),
      );
      if (outcome.kind === 'stale') {
        options.registries.invalidate(environmentId);
        return ask(environmentId, reasons);
      }
      publish.at(outcome.admitted, outcome.nowMs);
      announceSkipped(options, outcome.skipped);
      options.debounceView.show(environmentId, outcome);
      options.metrics.flow(outcome);
      if (outcome.stops.length > 0) await options.requestStop(outcome.stops);
      const { isCut, recheckAfter } = outcome;
      if (isCut || recheckAfter !== undefined) return ask(environmentId, { recheckAfter });
      const pauseMs = pauseAfter(environmentId, outcome.isIdle);
      const [due] = await store.due([environmentId]);
      if (due?.inMs !== undefined) alarms.arm(environmentId, Math.max(due.inMs, pauseMs));
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'a queue cannot be decided now; it is tried again');
      // After a while, but with what it was asked for.
      const retry = options.clock.setTimeout(() => {
        retries.delete(retry);
        ask(environmentId, reasons);
      }, retryMs);
      retries.add(retry);
    }
  };
  const begin = (): void => {
    for (const [environmentId, reasons] of asked) {
      if (isStopped || running.size >= passesAtOnceMax) return;
      if (running.has(environmentId)) continue;
      asked.delete(environmentId);
      const pass = decide(environmentId, reasons).finally(() => {
        running.delete(environmentId);
        begin();
      });
      running.set(environmentId, pass);
    }
  };
  const merge = (environmentId: string, { freed = [], recheckAfter }: PassReasons): void => {
    const known = asked.get(environmentId) ?? {};
    const after = known.recheckAfter ?? recheckAfter;
    asked.set(environmentId, {
      freed: new Set([...(known.freed ?? []), ...freed]),
      // Two that begin in different places begin at the beginning.
      recheckAfter: recheckAfter === undefined || recheckAfter === after ? after : '',
    });
  };
  const ask = (environmentId: string, reasons: PassReasons): void => {
    merge(environmentId, reasons);
    begin();
  };

  return {
    ask,
    recheck: createRechecks(options, (environmentId) => ask(environmentId, { recheckAfter: '' })),
    goOn: async (runs) => {
      const limited = runs.filter((run) => run.limited === true);
      if (limited.length === 0) return [...runs];
      const queued = await store.requeue(limited.map(({ runId }) => runId));
      for (const environmentId of new Set(queued.values())) ask(environmentId, {});
      return runs.filter(({ runId }) => !queued.has(runId));
    },
    sweep: async () => {
      const due = await store.due();
      for (const { environmentId, inMs } of due) {
        if (inMs === undefined || inMs <= 0) ask(environmentId, { recheckAfter: '' });
        else alarms.arm(environmentId, inMs);
      }
      return due.length;
    },
    stop: async () => {
      isStopped = true;
      alarms.stop();
      publish.stop();
      for (const retry of retries) retry.cancel();
      await Promise.all(running.values());
    },
  };
}

/** Many environments change together, as when a scheduler starts: most have no queue, and are asked for with others. */
function createRechecks(
  { store, logger }: Pick<FlowControlOptions, 'store' | 'logger'>,
  onQueue: (environmentId: string) => void,
): (environmentId: string) => void {
  const changed = new Set<string>();
  let isLooking = false;
  const look = async (): Promise<void> => {
    isLooking = true;
    try {
      while (changed.size > 0) {
        const environmentIds = [...changed];
        changed.clear();
        for (const { environmentId } of await store.due(environmentIds)) onQueue(environmentId);
      }
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'queues cannot be looked at now; the sweep does');
    } finally {
      isLooking = false;
    }
  };
  return (environmentId) => {
    changed.add(environmentId);
    if (!isLooking) void look();
  };
}

/** How long to wait after a pass: ever longer after those that found nothing to decide. */
function createPauses(): (environmentId: string, isIdle: boolean) => number {
  const pauses = new Map<string, number>();
  return (environmentId, isIdle) => {
    const before = pauses.get(environmentId) ?? 0;
    pauses.delete(environmentId);
    if (!isIdle) return 0;
    const pauseMs = Math.min(Math.max(1, before * 2), idleMsMax);
    pauses.set(environmentId, pauseMs);
    return pauseMs;
  };
}

/** What is let in ahead of its time is published when that comes. */
function createTimedPublish({ activator, clock }: Pick<FlowControlOptions, 'activator' | 'clock'>) {
  const waiting = new Set<TimerHandle>();
  // The activation before it may not have been acknowledged yet.
  const publish = (runs: readonly RunToActivate[]): void =>
    void activator.publish(runs.map(activationOf), { replacing: true });
  return {
    at: (admitted: readonly Admitted[], nowMs: number): void => {
      const now = admitted.filter(({ startAtMs }) => startAtMs <= nowMs);
      if (now.length > 0) publish(now.map(({ entry }) => entry.run));
      for (const { entry, startAtMs } of admitted) {
        if (startAtMs <= nowMs) continue;
        const handle = clock.setTimeout(() => {
          waiting.delete(handle);
          publish([entry.run]);
        }, startAtMs - nowMs);
        waiting.add(handle);
      }
    },
    stop: (): void => {
      for (const handle of waiting) handle.cancel();
    },
  };
}

/** One alarm for each environment, the earliest that was asked for. */
function createAlarms(clock: Clock, onAlarm: (environmentId: string) => void) {
  const armed = new Map<string, { atMs: number; handle: TimerHandle }>();
  let isStopped = false;
  return {
    arm: (environmentId: string, inMs: number): void => {
      if (isStopped) return;
      const delayMs = Math.max(1, Math.ceil(Math.min(inMs, armedMsMax)));
      const atMs = clock.now() + delayMs;
      const known = armed.get(environmentId);
      if (known !== undefined && known.atMs <= atMs) return;
      known?.handle.cancel();
      const handle = clock.setTimeout(() => {
        armed.delete(environmentId);
        onAlarm(environmentId);
      }, delayMs);
      armed.set(environmentId, { atMs, handle });
    },
    stop: (): void => {
      isStopped = true;
      for (const { handle } of armed.values()) handle.cancel();
    },
  };
}

function announceSkipped({ notices }: FlowControlOptions, skipped: readonly Skipped[]): void {
  for (const { run, awaitedBy } of skipped) {
    notices.publishRun(
      { ...run, status: 'skipped', journalSeq: 0, wake: 0, served: 0, steps: [] },
      'skipped',
    );
    for (const runId of awaitedBy) notices.publishWaits({ scope: run.scope, runId });
  }
}

/**
 * From a run that has a reason to go on to its activation. A lane of a pull app without a worker is not admitted: its runs rest
 * in Postgres until one connects, so that they fill neither STEPS nor the way of others.
 *
 * A run whose function has flow control goes on when that says so (flow-control.ts).
 *
 * A run that was asked to stop, or is too late to begin, is admitted like any other, so that whoever drives it ends it; without
 * a worker it ends here.
 *
 * Presence may change between the look at it and the commit that acts on it, so whoever put a run to rest looks again
 * afterwards; the sweep covers the rest.
 */
import type { LaneRef, RunToActivate, SchedulerStore, StoppingRun } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Journal, Notices } from '@ironflow/jetstream';
import type { Logger } from '@ironflow/service';
import { activationOf } from './activation-message.js';
import type { Activator, PublishOptions, PublishTally } from './activator.js';
import type { FlowControl } from './flow-control.js';
import type { SchedulerMetrics } from './metrics.js';
import { laneKey } from './worker-presence.js';
import type { WorkerPresence } from './worker-presence.js';

export interface AdmissionOptions {
  store: Pick<SchedulerStore, 'restForWorker' | 'releaseForWorker' | 'stoppingRuns' | 'endStopped'>;
  activator: Activator;
  flow: Pick<FlowControl, 'goOn' | 'ask' | 'recheck'>;
  presence: Pick<WorkerPresence, 'isPresent'>;
  notices: Pick<Notices, 'publishRun' | 'publishWaits'>;
  journal: Pick<Journal, 'last'>;
  metrics: Pick<SchedulerMetrics, 'swept'>;
  logger: Logger;
}

export interface Admission {
  /** Never rejects: what cannot be done now is left to the sweep. */
  admit(runs: readonly RunToActivate[], options?: PublishOptions): Promise<PublishTally>;
  /** Brings runs that rest on their way if their lane has a worker by now. Never rejects. */
  release(lane: LaneRef): Promise<void>;
}

/** Small enough that a page's activations fit the pipeline, large enough that the statement is not the cost. */
const releasePageMax = 500;

export function createAdmission(options: AdmissionOptions): Admission {
  const { store, activator, presence, metrics, logger } = options;
  const releasing = new Map<string, Promise<void>>();

  const releasePages = async (lane: LaneRef): Promise<void> => {
    try {
      while (presence.isPresent(lane)) {
        const runs = await store.releaseForWorker(lane, releasePageMax);
        if (runs.length > 0) metrics.swept('released_runs', runs.length);
        const { turnedAway } = await activator.publish((await options.flow.goOn(runs)).map(activationOf));
        // The released ones are found by the sweep; those that still rest are better off resting.
        if (runs.length < releasePageMax || turnedAway > 0) return;
      }
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'runs cannot be released now; the sweep tries again');
    }
  };
  const release = (lane: LaneRef): Promise<void> => {
    if (!presence.isPresent(lane)) return Promise.resolve();
    const key = laneKey(lane);
    const before = releasing.get(key) ?? Promise.resolve();
    // After one that is under way, not instead: it may have read its last page already.
    const next = before.then(() => releasePages(lane));
    releasing.set(key, next);
    return next.finally(() => {
      if (releasing.get(key) === next) releasing.delete(key);
    });
  };
  const rest = async (runs: readonly RunToActivate[]): Promise<void> => {
    try {
      const runIds = runs.map(({ runId }) => runId);
      await store.restForWorker(runIds);
      // The slots that they held are free.
      const limited = runs.filter((run) => run.limited === true);
      for (const { scope } of limited) options.flow.recheck(scope.environmentId);
      await endStopped(options, runs, await store.stoppingRuns(runIds));
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'runs cannot be put to rest now; the sweep finds them');
      return;
    }
    for (const lane of lanesOf(runs)) await release(lane);
  };

  const goingOn = async (runs: readonly RunToActivate[]): Promise<readonly RunToActivate[]> => {
    if (runs.every(({ limited }) => limited === undefined)) return runs;
    try {
      return await options.flow.goOn(runs);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'runs cannot be queued now; the sweep finds them');
      return runs.filter(({ limited }) => limited === undefined);
    }
  };

  return {
    admit: async (runs, publishOptions) => {
      const admitted: RunToActivate[] = [];
      const resting: RunToActivate[] = [];
      for (const run of await goingOn(runs)) {
        const isAdmitted = run.mode === 'push' || presence.isPresent(laneOf(run));
        (isAdmitted ? admitted : resting).push(run);
      }
      const [tally] = await Promise.all([
        activator.publish(admitted.map(activationOf), publishOptions),
        resting.length === 0 ? undefined : rest(resting),
      ]);
      return tally;
    },
    release,
  };
}

/**
 * Nobody drives them, and nobody may for long: they end here. What their journals have that Postgres has not taken yet
 * comes first, for it may be their own end; the sweep brings them again.
 */
async function endStopped(
  { store, journal, notices, flow }: AdmissionOptions,
  runs: readonly RunToActivate[],
  stopping: readonly StoppingRun[],
): Promise<void> {
  const of = new Map(runs.map((run) => [run.runId, run]));
  // One whose journal cannot be read spoils no other.
  const lasts = await Promise.allSettled(
    stopping.map(({ runId }) => journal.last(of.get(runId)!.scope, runId)),
  );
  const accepted = stopping.filter(({ journalSeq }, index) => {
    const last = lasts[index]!;
    return last.status === 'fulfilled' && (last.value?.sequence ?? 0) <= journalSeq;
  });
  const ended = await store.endStopped(accepted);
  for (const state of accepted) {
    const as = ended.get(state.runId);
    if (as === undefined) continue;
    const { status } = as;
    notices.publishRun({ ...of.get(state.runId)!, ...state, status, steps: [] }, status);
    const { scope } = of.get(state.runId)!;
    for (const runId of as.awaitedBy) notices.publishWaits({ scope, runId });
    if (as.freed.length > 0) flow.ask(scope.environmentId, { freed: as.freed });
  }
}

function laneOf({ scope, appId, buildId }: RunToActivate): LaneRef {
  return { environmentId: scope.environmentId, appId, ...(buildId === undefined ? {} : { buildId }) };
}

function lanesOf(runs: readonly RunToActivate[]): Iterable<LaneRef> {
  return new Map(runs.map(laneOf).map((lane) => [laneKey(lane), lane])).values();
}

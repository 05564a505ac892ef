/** Drives pull runs: gives each to the worker that has most room. */
import type { RegistryReader } from '@ironflow/database';
import { workerEndpoint } from '@ironflow/schema';
import { limitActivity } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import { concluded, reportOf } from './call-admission.js';
import type { CallAdmission, Driven } from './call-admission.js';
import type { Settlement } from './settlement.js';
import type { WorkerConnection } from './worker-connection.js';

export interface PullDriverOptions {
  registry: RegistryReader;
  admission: CallAdmission;
  settlement: Pick<Settlement, 'defer'>;
}

/** The workers of a run's lane; those that are asked for are of the run's build, if it is pinned to one. */
export interface Workers {
  /** Whether there is one, with room or without. */
  areThere(run: ActiveRun): boolean;
  /** Keeps a free slot for the run, if there is one, until one is picked or the activation is over. */
  reserve(run: ActiveRun): boolean;
  /** One with a slot, the reserved one unless it is gone; to be given the run in the same turn of the event loop. */
  pick(run: ActiveRun): WorkerConnection | undefined;
}

export type PullDrive = (run: ActiveRun, workers: Workers) => Promise<Driven>;

/** A worker may be back by then, or another executor has one. */
const noSlotDelayMs = 50;

export function createPullDriver({ registry, admission, settlement }: PullDriverOptions): PullDrive {
  return async (run, workers) => {
    const known = await registry.atLeast(run.scope.environmentId, run.registryVersion);
    const config = known.functions.get(run.functionId)?.config;
    const policy = config?.retries;
    limitActivity(run, config?.timeoutMs);
    const handBack = (): Driven => {
      run.lease.handBack(noSlotDelayMs);
      return 'over';
    };
    const isToEnd = run.stop.isRequested || run.isTooLate;
    // Pinned by an activation that was not over when its executor was lost: the next one goes to its build.
    if (!isToEnd && run.buildId !== undefined && !workers.areThere(run)) {
      return concluded(settlement.defer(run, { inMs: 0, reason: 'build_elsewhere' }));
    }
    // Before the breaker is asked and the call is marked: neither is for a run that nobody can take.
    if ((run.stopping !== undefined || !isToEnd) && !workers.reserve(run)) return handBack();
    const place = { endpoint: workerEndpoint, breaker: config?.circuitBreaker };
    return admission(run, place, async (probe) => {
      const worker = workers.pick(run);
      return worker === undefined
        ? handBack()
        : worker.drive(run, { policy, report: reportOf(place, probe) });
    });
  };
}

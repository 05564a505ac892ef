/** Drives pull runs: gives each to the worker that has most room. */
import type { RegistryReader } from '@ironflow/database';
import { limitActivity } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import type { CallAdmission, Driven } from './call-admission.js';
import { workerEndpoint } from './worker-connection.js';
import type { WorkerConnection } from './worker-connection.js';

export interface PullDriverOptions {
  registry: RegistryReader;
  admission: CallAdmission;
}

/** The workers of a run's app. */
export interface Workers {
  haveRoom(): boolean;
  /** One with a free slot; to be given the run in the same turn of the event loop. */
  pick(): WorkerConnection | undefined;
}

export type PullDrive = (run: ActiveRun, workers: Workers) => Promise<Driven>;

/** A worker may be back by then, or another executor has one. */
const noSlotDelayMs = 50;

export function createPullDriver({ registry, admission }: PullDriverOptions): PullDrive {
  return async (run, workers) => {
    const known = await registry.atLeast(run.scope.environmentId, run.registryVersion);
    const config = known.functions.get(run.functionId)?.config;
    const policy = config?.retries;
    limitActivity(run, config?.timeoutMs);
    const handBack = (): Driven => {
      run.lease.handBack(noSlotDelayMs);
      return 'over';
    };
    // Before the breaker is asked: its one probe is not for a run that nobody can take.
    if ((run.stopping !== undefined || !run.stop.isRequested) && !workers.haveRoom()) return handBack();
    return admission(run, workerEndpoint, async (probe) => {
      const worker = workers.pick();
      return worker === undefined ? handBack() : worker.drive(run, { policy, probe });
    });
  };
}

/** Drives pull runs: asks the breaker, and gives the run to the worker that has most room. */
import type { RegistryReader } from '@ironflow/database';
import type { ActiveRun } from './active-run.js';
import type { CircuitGate } from './circuit-gate.js';
import type { Settlement } from './settlement.js';
import { workerEndpoint } from './worker-connection.js';
import type { WorkerConnection } from './worker-connection.js';

export interface PullDriverOptions {
  registry: RegistryReader;
  circuits: CircuitGate;
  settlement: Settlement;
}

export type PullDrive = (
  run: ActiveRun,
  /** A worker with a free slot; to be given the run in the same turn of the event loop. */
  pick: () => WorkerConnection | undefined,
) => Promise<'over' | 'restart'>;

/** A worker may be back by then, or another executor has one. */
const noSlotDelayMs = 50;

export function createPullDriver({ registry, circuits, settlement }: PullDriverOptions): PullDrive {
  return async (run, pick) => {
    const known = await registry.atLeast(run.scope.environmentId, run.registryVersion);
    const admission = await circuits.admit({
      environmentId: run.scope.environmentId,
      functionId: run.functionId,
      endpoint: workerEndpoint,
    });
    if (admission.kind === 'wait') {
      return (await settlement.defer(run, admission.inMs)) === 'restart' ? 'restart' : 'over';
    }
    const worker = pick();
    if (worker === undefined) {
      run.lease.handBack(noSlotDelayMs);
      return 'over';
    }
    const policy = known.functions.get(run.functionId)?.config.retries;
    return worker.drive(run, { policy, probe: admission.probe });
  };
}

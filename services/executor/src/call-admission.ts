/**
 * What every run passes before its function is called, whether by HTTP or on a worker's socket: whether it was asked to stop
 * or is too late to begin, the limits of a run that can go no further, and the circuit breaker. Owns the breaker's probe: as
 * long as its call is under way nobody claims another, and one whose outcome was not recorded is given back.
 */
import { limits } from '@ironflow/schema';
import type { CallOutcome, CircuitOverrides } from '@ironflow/schema';
import type { ActiveRun } from './active-run.js';
import type { CircuitGate } from './circuit-gate.js';
import { deliveryExhausted, memoTooLarge } from './outcome.js';
import type { Settled, Settlement } from './settlement.js';

/** `restart`: the run has to be read again; otherwise the activation is over. */
export type Driven = 'over' | 'restart';

export interface CallAdmissionOptions {
  circuits: CircuitGate;
  settlement: Settlement;
}

/** Where the function is called, and what it says of its breakers. */
export interface CallPlace {
  endpoint: string;
  breaker?: CircuitOverrides | undefined;
}

export type CallAdmission = (
  run: ActiveRun,
  place: CallPlace,
  /** Calls the function. `probe` goes into the outcome of the call. */
  drive: (probe: number | undefined) => Promise<Driven>,
) => Promise<Driven>;

/** Calls of one activation that left no record: more are a function that takes its executor down each time. */
const unrecordedCallsMax = 20;

export function createCallAdmission({ circuits, settlement }: CallAdmissionOptions): CallAdmission {
  return async (run, { endpoint, breaker }, drive) => {
    const isToStop = (): boolean => run.stopping === undefined && run.stop.isRequested;
    if (isToStop()) return concluded(settlement.stop(run));
    if (run.isTooLate) return concluded(settlement.skip(run));
    if (run.stopping === undefined && run.memoBytes > limits.runMemoBytesMax) {
      return concluded(settlement.fail(run, memoTooLarge()));
    }
    if ((run.unrecordedCalls ?? 0) >= unrecordedCallsMax) {
      return concluded(settlement.fail(run, deliveryExhausted(unrecordedCallsMax)));
    }
    // Nothing is claimed for a run that is somebody else's by now.
    if (!run.lease.isHeld()) return 'over';
    const { environmentId } = run.scope;
    const of = { environmentId, functionId: run.functionId, endpoint };
    const admission = await circuits.admit(of, breaker);
    if (admission.kind === 'wait') {
      return concluded(settlement.defer(run, { inMs: admission.inMs, reason: 'circuit_open' }));
    }
    const { probe } = admission;
    if (probe !== undefined) run.lease.onBeat(() => void circuits.renew(of, probe));
    try {
      const marked = await settlement.markCall(run);
      if (marked !== 'settled') return marked;
      return isToStop() ? await concluded(settlement.stop(run)) : await drive(probe);
    } finally {
      if (probe !== undefined && !run.callReported) await circuits.giveBack(of, probe);
    }
  };
}

export async function concluded(settled: Promise<Settled>): Promise<Driven> {
  return (await settled) === 'restart' ? 'restart' : 'over';
}

/** What the outcome of a call says beside how it went. */
export function reportOf(
  { endpoint, breaker }: CallPlace,
  probe: number | undefined,
): Omit<CallOutcome, 'succeeded'> {
  return {
    endpoint,
    ...(probe === undefined ? {} : { probe }),
    ...(breaker === undefined ? {} : { policy: breaker }),
  };
}

/** Steps and times: nothing that was recorded begins again (I3), and nothing that takes time is over early (I7). Pure. */
import { attemptKey, examine, stepKey } from '@ironflow/bench';
import type { Facts, Violation } from '../facts.js';
import { roundingMs } from './rounding.js';

export function checkBegunAfterStored({ ledger, stored }: Facts): Violation[] {
  return examine([...ledger], stored).violations.map(({ run, step, attempt, atMs }) => ({
    rule: 'a step began after its result was acknowledged',
    evidence: `run ${run}, ${step} attempt ${attempt} at ${atMs}, stored at ${stored.get(stepKey(run, step)) ?? stored.get(attemptKey(run, step, attempt))}`,
  }));
}

/** Of steps that come one after the other (those of probes): the next begins once the result of the one before is stored. */
export function checkBegunBeforeStored({ ledger, journal }: Facts): Violation[] {
  return ledger.flatMap(({ what, run, step, atMs }) => {
    const index = Number(/^step (\d+)$/.exec(step)?.[1] ?? 0);
    const storedAtMs = journal.get(stepKey(run, `step ${index - 1}`));
    if (what !== 'begun' || storedAtMs === undefined || atMs + roundingMs >= storedAtMs) return [];
    const evidence = `run ${run}, ${step} at ${atMs}, the one before stored at ${storedAtMs}`;
    return [{ rule: 'a step began before the result of the one before was stored', evidence }];
  });
}

/** From the first moment that a handler came to a wait until the first that any went past it. */
export function checkEarly({ ledger }: Facts): Violation[] {
  const asked = new Map<string, { dueAtMs: number }>();
  const passed = new Map<string, number>();
  for (const { what, run, step, atMs, forMs, untilMs } of ledger) {
    const key = `run ${run}, ${step}`;
    if (what === 'asked') {
      const dueAtMs = untilMs ?? atMs + (forMs ?? 0);
      const known = asked.get(key);
      if (known === undefined || dueAtMs < known.dueAtMs) asked.set(key, { dueAtMs });
    } else if (what === 'passed' && atMs < (passed.get(key) ?? Number.POSITIVE_INFINITY)) {
      passed.set(key, atMs);
    }
  }
  return [...passed].flatMap(([key, atMs]) => {
    const dueAtMs = asked.get(key)?.dueAtMs ?? Number.POSITIVE_INFINITY;
    if (atMs + roundingMs >= dueAtMs) return [];
    return [{ rule: 'a wait was over early', evidence: `${key}: ${Math.round(dueAtMs - atMs)} ms early` }];
  });
}

/** An attempt that follows a failed one begins no sooner than Postgres has said that it would. */
export function checkRetriesEarly({ ledger, steps }: Facts): Violation[] {
  const dueAtMs = new Map<string, number>();
  for (const { runId, stepId, attempt, status, dueAtMs: due } of steps) {
    if (status === 'errored' && due !== null) dueAtMs.set(`${runId} ${stepId} ${attempt}`, due);
  }
  return ledger.flatMap(({ what, run, step, attempt, atMs }) => {
    const due = dueAtMs.get(`${run} ${step} ${attempt - 1}`);
    if (what !== 'begun' || due === undefined || atMs + roundingMs >= due) return [];
    const evidence = `run ${run}, ${step} attempt ${attempt}: ${Math.round(due - atMs)} ms early`;
    return [{ rule: 'a retry began early', evidence }];
  });
}

/** A large output that is left was stored by an attempt that was lost: its step has begun more than once. */
export function checkClaims({ claims, ledger }: Facts): Violation[] {
  return claims.flatMap(({ runId, stepId }) => {
    const begun = ledger.filter(
      ({ what, run, step }) => what === 'begun' && run === runId && step === stepId,
    );
    if (begun.length !== 1) return [];
    return [{ rule: 'a large output was accepted and is left', evidence: `run ${runId}, ${stepId}` }];
  });
}

export function countRepeats({ ledger, stored }: Facts): { begun: number; repeats: number } {
  const { begun, repeats } = examine([...ledger], stored);
  return { begun, repeats };
}

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { defaultCircuitPolicy } from './circuit-breaker.js';
import type { CircuitPolicy, CircuitState } from './circuit-breaker.js';
import {
  admit,
  closedCircuit,
  foldOutcomes,
  forcedOpen,
  withoutProbe,
  withProbeSeen,
} from './circuit-machine.js';
import type { CircuitOutcome } from './circuit-machine.js';

const parts = {
  environmentId: '0190a000-0000-7000-8000-000000000001',
  functionId: 'charge',
  endpoint: 'https://shop.test/api',
};
const policy = defaultCircuitPolicy;
const failed: CircuitOutcome = { succeeded: false };
const succeeded: CircuitOutcome = { succeeded: true };
const startMs = Date.UTC(2030, 0, 1);

const fold = (
  state: CircuitState | undefined,
  outcomes: CircuitOutcome[],
  nowMs = startMs,
  by: CircuitPolicy = policy,
): CircuitState => foldOutcomes(state, parts, outcomes, by, nowMs);

const openCircuit = (): CircuitState => fold(undefined, Array<CircuitOutcome>(5).fill(failed));

function halfOpenCircuit(executor = 'executor-1', nowMs = startMs + policy.openMs): CircuitState {
  const admission = admit(openCircuit(), executor, policy, nowMs);
  if (admission.kind !== 'claim') throw new Error(`expected a claim, got ${admission.kind}`);
  return admission.next;
}

describe('a closed breaker', () => {
  test('opens at the fifth failure in a row and not at the fourth', () => {
    expect(fold(undefined, [failed, failed, failed, failed]).state).toBe('closed');
    expect(openCircuit()).toMatchObject({ state: 'open', openedAtMs: startMs, consecutiveFailures: 5 });
  });

  test('begins to count failures in a row anew after a success', () => {
    const outcomes = [failed, failed, failed, failed, succeeded, failed, failed, failed, failed];
    expect(fold(undefined, outcomes)).toMatchObject({ state: 'closed', consecutiveFailures: 4 });
  });

  test('opens when half of twenty calls failed, though never many in a row', () => {
    const outcomes = Array.from({ length: 19 }, (_, index) => (index % 2 === 0 ? failed : succeeded));
    expect(fold(undefined, outcomes).state).toBe('closed');
    expect(fold(undefined, [...outcomes, succeeded]).state).toBe('open');
  });

  test('does not add up failures of two windows', () => {
    const alternating = Array.from({ length: 18 }, (_, index) => (index % 2 === 0 ? failed : succeeded));
    const before = fold(undefined, alternating, startMs);
    expect(fold(before, alternating, startMs + policy.windowMs - 1).state).toBe('open');
    expect(fold(before, alternating, startMs + policy.windowMs)).toMatchObject({
      state: 'closed',
      calls: 18,
      windowStartedAtMs: startMs + policy.windowMs,
    });
  });

  test('admits every call', () => {
    expect(admit(undefined, 'executor-1', policy, startMs)).toEqual({ kind: 'call' });
    expect(admit(fold(undefined, [failed]), 'executor-1', policy, startMs)).toEqual({ kind: 'call' });
  });
});

describe('an open breaker', () => {
  test('lets nobody call for a minute and says how long is left', () => {
    expect(admit(openCircuit(), 'executor-1', policy, startMs + 10_000)).toEqual({
      kind: 'wait',
      inMs: 50_000,
    });
    expect(admit(openCircuit(), 'executor-1', policy, startMs + policy.openMs - 1).kind).toBe('wait');
  });

  test('makes nobody with a lagging clock wait longer than a minute', () => {
    expect(admit(openCircuit(), 'executor-1', policy, startMs - 3_600_000)).toEqual({
      kind: 'wait',
      inMs: policy.openMs,
    });
  });

  test('is looked at again within two minutes, however long it is open', () => {
    const long = fold(undefined, Array<CircuitOutcome>(5).fill(failed), startMs, {
      ...policy,
      openMs: 86_400_000,
    });
    expect(admit(long, 'executor-1', policy, startMs)).toEqual({ kind: 'wait', inMs: 120_000 });
    expect(admit(long, 'executor-1', policy, startMs + 86_399_000)).toEqual({ kind: 'wait', inMs: 1_000 });
  });

  test('is not moved by calls that were let through before it opened', () => {
    const open = openCircuit();
    expect(fold(open, [succeeded, failed, { succeeded: true, probe: startMs }], startMs + 1)).toBe(open);
  });
});

describe('a half-open breaker', () => {
  const claimedAtMs = startMs + policy.openMs;

  test('has its one probe out and lets nobody else call', () => {
    const state = halfOpenCircuit('executor-1', startMs + policy.openMs);
    expect(state).toMatchObject({ state: 'half_open', probe: { executor: 'executor-1' } });
    expect(admit(state, 'executor-2', policy, startMs + policy.openMs + 1).kind).toBe('wait');
    expect(admit(state, 'executor-1', policy, startMs + policy.openMs + 1).kind).toBe('wait');
  });

  test('closes with everything reset when the probe succeeds', () => {
    const closed = fold(halfOpenCircuit(), [{ succeeded: true, probe: claimedAtMs }], startMs + 61_000);
    expect(closed).toMatchObject({ state: 'closed', consecutiveFailures: 0, calls: 0, failures: 0 });
    expect(closed.openedAtMs).toBeUndefined();
    expect(closed.probe).toBeUndefined();
  });

  test('opens for another whole minute when the probe fails', () => {
    const state = fold(halfOpenCircuit(), [{ succeeded: false, probe: claimedAtMs }], startMs + 61_000);
    expect(state).toMatchObject({ state: 'open', openedAtMs: startMs + 61_000 });
    expect(state.probe).toBeUndefined();
  });

  test('is not moved by late outcomes of ordinary calls', () => {
    const state = halfOpenCircuit();
    expect(fold(state, [succeeded, failed, failed, failed, failed, failed], startMs + 61_000)).toBe(state);
  });

  test('gives up a probe that was not heard of and lets another be claimed', () => {
    const state = halfOpenCircuit('executor-1', claimedAtMs);
    expect(admit(state, 'executor-2', policy, claimedAtMs + policy.probeTimeoutMs - 1).kind).toBe('wait');
    const again = admit(state, 'executor-2', policy, claimedAtMs + policy.probeTimeoutMs);
    expect(again).toMatchObject({ kind: 'claim', next: { probe: { executor: 'executor-2' } } });
  });

  test('waits for a probe for as long as it is heard of, and settles by it', () => {
    const claimed = halfOpenCircuit('executor-1', claimedAtMs);
    expect(withProbeSeen(claimed, claimedAtMs - 1, policy, claimedAtMs + 30_000)).toBe(claimed);
    // Not a write with every sign of life.
    expect(withProbeSeen(claimed, claimedAtMs, policy, claimedAtMs + 19_000)).toBe(claimed);
    let state = claimed;
    let nowMs = claimedAtMs;
    for (; nowMs < claimedAtMs + 600_000; nowMs += 20_000) {
      state = withProbeSeen(state, claimedAtMs, policy, nowMs);
      expect(admit(state, 'executor-2', policy, nowMs + policy.probeTimeoutMs - 20_000).kind).toBe('wait');
    }
    const again = admit(state, 'executor-2', policy, nowMs + policy.probeTimeoutMs);
    expect(again).toMatchObject({ kind: 'claim' });
    expect(again).not.toHaveProperty('next.probe.seenAtMs');
    expect(fold(state, [{ succeeded: true, probe: claimedAtMs }], nowMs).state).toBe('closed');
  });

  test.each([true, false])('is not moved by a probe that was given up (it succeeded: %s)', (ok) => {
    const againAtMs = claimedAtMs + policy.probeTimeoutMs;
    const admission = admit(halfOpenCircuit(), 'executor-2', policy, againAtMs);
    if (admission.kind !== 'claim') throw new Error('expected a claim');
    const { next } = admission;
    expect(fold(next, [{ succeeded: ok, probe: claimedAtMs }], againAtMs + 1)).toBe(next);
    const settled = fold(next, [{ succeeded: ok, probe: againAtMs }], againAtMs + 1);
    expect(settled.state).toBe(ok ? 'closed' : 'open');
  });

  test('lets the next one claim at once a probe that was given back, and only its own', () => {
    const state = halfOpenCircuit();
    expect(withoutProbe(state, claimedAtMs - 1)).toBe(state);
    const open = withoutProbe(state, claimedAtMs);
    expect(open).toEqual({ ...openCircuit(), successes: 0 });
    expect(withoutProbe(open, claimedAtMs)).toBe(open);
    expect(admit(open, 'executor-2', policy, claimedAtMs)).toMatchObject({ kind: 'claim' });
  });

  test('closes only after as many successful probes as the policy asks for, each claimed anew', () => {
    const twice = { ...policy, successesToClose: 2 };
    const probe = { succeeded: true, probe: claimedAtMs };
    const once = fold(halfOpenCircuit(), [probe, probe], startMs + 61_000, twice);
    expect(once).toMatchObject({ state: 'half_open', successes: 1 });
    const second = admit(once, 'executor-2', twice, startMs + 61_000);
    if (second.kind !== 'claim') throw new Error('expected a claim');
    const next = { succeeded: true, probe: startMs + 61_000 };
    expect(fold(second.next, [next], startMs + 62_000, twice).state).toBe('closed');
  });
});

describe('a breaker that an operator forced open', () => {
  const forcedNow = { sinceMs: startMs };
  const untilLater = { sinceMs: startMs, untilMs: startMs + 600_000 };

  test.each([
    ['closed', undefined],
    ['open', openCircuit()],
    ['half-open', halfOpenCircuit()],
  ])('lets nobody call for ever, not even to see, when it was %s', (_before, state) => {
    const forced = forcedOpen(state, parts, forcedNow);
    for (const afterMs of [0, policy.openMs, policy.probeTimeoutMs, 365 * 86_400_000]) {
      expect(admit(forced, 'executor-1', policy, startMs + afterMs).kind).toBe('wait');
      // Nor does what its function says of breakers.
      const off = { ...policy, enabled: false };
      expect(admit(forced, 'executor-1', off, startMs + afterMs).kind).toBe('wait');
    }
    const probe = { succeeded: true, probe: startMs + policy.openMs };
    expect(fold(forced, [probe, succeeded, failed], startMs + 61_000)).toBe(forced);
  });

  test('is looked at again within two minutes, and before its time is over', () => {
    expect(admit(forcedOpen(undefined, parts, forcedNow), 'executor-1', policy, startMs)).toEqual({
      kind: 'wait',
      inMs: 120_000,
    });
    const forced = forcedOpen(undefined, parts, untilLater);
    expect(admit(forced, 'executor-1', policy, startMs + 599_000)).toEqual({ kind: 'wait', inMs: 1_000 });
  });

  test('is seen by one probe once its time is over, and is a breaker like any other then', () => {
    const overMs = startMs + 600_000;
    const claim = admit(forcedOpen(openCircuit(), parts, untilLater), 'executor-1', policy, overMs);
    if (claim.kind !== 'claim') throw new Error('expected a claim');
    expect(claim.next.forced).toBeUndefined();
    expect(admit(claim.next, 'executor-2', policy, overMs).kind).toBe('wait');
    expect(fold(claim.next, [{ succeeded: true, probe: overMs }], overMs + 1).state).toBe('closed');
    // Given back, it may be claimed at once.
    expect(admit(withoutProbe(claim.next, overMs), 'executor-2', policy, overMs).kind).toBe('claim');
  });

  test('keeps executors of the version before from calling as well: they know of no force', () => {
    const { forced: _unknown, ...known } = forcedOpen(undefined, parts, forcedNow);
    expect(admit(known, 'executor-1', policy, startMs + 365 * 86_400_000).kind).toBe('wait');
  });

  test('is closed by a reset with everything forgotten', () => {
    const closed = closedCircuit(forcedOpen(openCircuit(), parts, forcedNow), startMs + 5);
    expect(closed).toMatchObject({ state: 'closed', consecutiveFailures: 0, failures: 0 });
    expect(closed).not.toHaveProperty('forced');
    expect(admit(closed, 'executor-1', policy, startMs + 5)).toEqual({ kind: 'call' });
  });
});

describe('what a function says of its breakers', () => {
  test('holds: it opens after as many failures, for as long', () => {
    const own = { ...policy, consecutiveFailures: 2, openMs: 500 };
    const opened = fold(undefined, [failed, failed], startMs, own);
    expect(opened).toMatchObject({ state: 'open', openMs: 500 });
    // The breaker knows how long it is open, whatever whoever asks was configured with.
    expect(admit(opened, 'executor-1', policy, startMs + 499)).toEqual({ kind: 'wait', inMs: 1 });
    expect(admit(opened, 'executor-1', policy, startMs + 500).kind).toBe('claim');
  });

  test('switched off, it never opens, lets everybody call, and closes what was open before', () => {
    const off = { ...policy, enabled: false };
    expect(fold(undefined, Array<CircuitOutcome>(100).fill(failed), startMs, off).state).toBe('closed');
    expect(admit(openCircuit(), 'executor-1', off, startMs)).toEqual({ kind: 'call' });
    expect(fold(openCircuit(), [failed], startMs, off)).toMatchObject({ state: 'closed', failures: 0 });
  });
});

describe('the machine', () => {
  /** The rule as a sentence: every call of the window is kept and looked at again after each one. */
  function oracleOpensAt(calls: { succeeded: boolean; atMs: number }[], by: CircuitPolicy): number {
    let window: { succeeded: boolean; atMs: number }[] = [];
    let inARow = 0;
    for (const [index, call] of calls.entries()) {
      if (window.length > 0 && call.atMs - window[0]!.atMs >= by.windowMs) window = [];
      window.push(call);
      inARow = call.succeeded ? 0 : inARow + 1;
      const share = window.filter((one) => !one.succeeded).length / window.length;
      const isMany = window.length >= by.minimumCalls && share >= by.failureRatio;
      if (inARow >= by.consecutiveFailures || isMany) return index;
    }
    return -1;
  }

  const callsArbitrary = fc
    .array(
      fc.record({
        succeeded: fc.integer({ min: 0, max: 99 }).map((dice) => dice < 60),
        pauseMs: fc.integer({ min: 0, max: 4_000 }),
      }),
      { maxLength: 120 },
    )
    .map((calls) => {
      let atMs = startMs;
      return calls.map((call) => ({ succeeded: call.succeeded, atMs: (atMs += call.pauseMs) }));
    });

  test('opens at exactly the call at which the rule says so', () => {
    fc.assert(
      fc.property(callsArbitrary, (calls) => {
        let state: CircuitState | undefined;
        let openedAt = -1;
        for (const [index, call] of calls.entries()) {
          state = fold(state, [{ succeeded: call.succeeded }], call.atMs);
          if (openedAt === -1 && state.state === 'open') openedAt = index;
        }
        expect(openedAt).toBe(oracleOpensAt(calls, policy));
      }),
      { numRuns: 2_000 },
    );
  });

  test('counts successes in one lump as it counts them one by one', () => {
    const outcomes = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 30 })), { maxLength: 20 });
    fc.assert(
      fc.property(outcomes, (list) => {
        const lumps = list.map(([ok, count]): CircuitOutcome => ({ succeeded: ok, count: ok ? count : 1 }));
        const singles = lumps.flatMap((lump) =>
          Array<CircuitOutcome>(lump.count!).fill({ succeeded: lump.succeeded }),
        );
        const inLumps = fold(undefined, lumps);
        const oneByOne = fold(undefined, singles);
        expect(inLumps.state).toBe(oneByOne.state);
        if (inLumps.state === 'closed') expect(inLumps).toEqual(oneByOne);
      }),
      { numRuns: 2_000 },
    );
  });

  test('never has two probes out, however executors and outcomes interleave', () => {
    interface Executor {
      /** What it has read and not acted upon yet. */
      read: { state: CircuitState; revision: number } | undefined;
      probeSinceMs: number | undefined;
      /** When it was claimed, or the state last said that it is under way. */
      seenAtMs: number;
    }
    const action = fc.record({
      what: fc.constantFrom('ask', 'ask', 'ask', 'settle', 'renew', 'give back', 'late outcome', 'wait'),
      executor: fc.integer({ min: 0, max: 2 }),
      succeeded: fc.boolean(),
      waitMs: fc.constantFrom(1, 20_000, 45_000, 70_000),
    });
    let claims = 0;
    let refusedClaims = 0;
    let givenUp = 0;
    let renewed = 0;
    fc.assert(
      fc.property(fc.array(action, { minLength: 20, maxLength: 120 }), (actions) => {
        let stored = openCircuit();
        let revision = 1;
        let nowMs = startMs;
        const executors: Executor[] = Array.from({ length: 3 }, () => ({
          read: undefined,
          probeSinceMs: undefined,
          seenAtMs: 0,
        }));
        const write = (next: CircuitState): void => {
          if (next !== stored) revision += 1;
          stored = next;
        };
        const act = (executor: Executor, name: string): void => {
          const { read } = executor;
          executor.read = read === undefined ? { state: stored, revision } : undefined;
          if (read === undefined || executor.probeSinceMs !== undefined) return;
          const admission = admit(read.state, name, policy, nowMs);
          if (admission.kind !== 'claim') return;
          if (read.revision !== revision) return void (refusedClaims += 1);
          const out = executors.filter(
            ({ probeSinceMs, seenAtMs }) =>
              probeSinceMs !== undefined && nowMs - seenAtMs < policy.probeTimeoutMs,
          );
          expect(out).toEqual([]);
          claims += 1;
          executor.probeSinceMs = nowMs;
          executor.seenAtMs = nowMs;
          write(admission.next);
        };
        for (const { what, executor: index, succeeded: ok, waitMs } of actions) {
          const executor = executors[index]!;
          if (what === 'wait') nowMs += waitMs;
          if (what === 'ask') act(executor, `executor-${index}`);
          if (what === 'late outcome') write(fold(stored, [{ succeeded: ok }], nowMs));
          if (what === 'settle' && executor.probeSinceMs !== undefined) {
            const probe = executor.probeSinceMs;
            executor.probeSinceMs = undefined;
            const before = stored;
            write(fold(stored, [{ succeeded: ok, probe }], nowMs));
            if (before.probe?.startedAtMs !== probe) expect(stored.state).toBe(before.state);
            if (before.probe?.startedAtMs !== probe) givenUp += 1;
          }
          if (what === 'renew' && executor.probeSinceMs !== undefined) {
            const next = withProbeSeen(stored, executor.probeSinceMs, policy, nowMs);
            if (next !== stored) {
              executor.seenAtMs = nowMs;
              renewed += 1;
            }
            write(next);
          }
          if (what === 'give back' && executor.probeSinceMs !== undefined) {
            write(withoutProbe(stored, executor.probeSinceMs));
            executor.probeSinceMs = undefined;
          }
        }
      }),
      { numRuns: 2_000 },
    );
    expect(claims).toBeGreaterThan(1_000);
    expect(refusedClaims).toBeGreaterThan(100);
    expect(givenUp).toBeGreaterThan(20);
    expect(renewed).toBeGreaterThan(100);
  });
});

import { expect, test } from '@jest/globals';
import { defaultCircuitPolicy, foldOutcomes } from '@ironflow/schema';
import type { CircuitOutcome, CircuitState } from '@ironflow/schema';
import fc from 'fast-check';
import { foldInto, hasToBeWritten, keepInMemory, nothingUnsaved, unsavedIn } from './circuit-view.js';
import type { CircuitView, Fold } from './circuit-view.js';

const policy = defaultCircuitPolicy;
const startMs = Date.UTC(2030, 0, 1);
const parts = {
  environmentId: '0190a000-0000-7000-8000-000000000001',
  functionId: 'charge',
  endpoint: 'https://shop.test/api',
};
const foldOf = (outcomes: CircuitOutcome[], nowMs = startMs): Fold => ({ parts, outcomes, policy, nowMs });
const succeeded: CircuitOutcome = { succeeded: true };
const failed: CircuitOutcome = { succeeded: false };
const unknown: CircuitView = { saved: undefined, unsaved: nothingUnsaved };

/** One replica and a bucket that it alone writes. */
function createReplica() {
  let stored: CircuitState | undefined;
  let view: CircuitView = unknown;
  let writes = 0;
  return {
    take: (outcomes: CircuitOutcome[], nowMs: number): CircuitState => {
      const fold = foldOf(outcomes, nowMs);
      const kept = keepInMemory(view, fold);
      if (kept !== undefined) {
        view = kept;
      } else {
        const next = foldInto(stored, view.unsaved, fold);
        if (hasToBeWritten(stored, next, fold)) {
          stored = next;
          writes += 1;
          view = { saved: next, unsaved: nothingUnsaved };
        } else {
          view = { saved: stored, unsaved: unsavedIn(next, stored) };
        }
      }
      return foldInto(view.saved, view.unsaved, foldOf([], nowMs));
    },
    writes: () => writes,
  };
}

test('any number of successes of a healthy function costs no write', () => {
  const replica = createReplica();
  for (let second = 0; second < 100; second += 1) {
    replica.take([succeeded, succeeded, succeeded], startMs + second * 1_000);
  }
  expect(replica.writes()).toBe(0);
});

test('every failure is written, and the success after it, and then nothing again', () => {
  const replica = createReplica();
  replica.take([failed], startMs);
  replica.take([failed], startMs + 1);
  expect(replica.writes()).toBe(2);
  replica.take([succeeded], startMs + 2);
  expect(replica.writes()).toBe(3);
  for (let index = 0; index < 50; index += 1) replica.take([succeeded], startMs + 3 + index);
  expect(replica.writes()).toBe(3);
});

test('failures among many successes that were never written do not open by their share', () => {
  const replica = createReplica();
  for (let index = 0; index < 1_000; index += 1) replica.take([succeeded], startMs + index);
  for (let index = 0; index < 40; index += 1) {
    const state = replica.take([index % 2 === 0 ? failed : succeeded], startMs + 2_000 + index);
    expect(state.state).toBe('closed');
  }
});

test('a probe is never judged by the view, which may lag behind the claim', () => {
  expect(keepInMemory(unknown, foldOf([{ succeeded: true, probe: 1 }]))).toBeUndefined();
});

test('a breaker that the view holds for open is looked up: it may have been closed or lost since', () => {
  const open = foldOutcomes(undefined, parts, Array<CircuitOutcome>(5).fill(failed), policy, startMs);
  expect(keepInMemory({ saved: open, unsaved: nothingUnsaved }, foldOf([succeeded]))).toBeUndefined();
});

test('near to opening by share the successes are written too', () => {
  const saved: CircuitState = {
    ...foldInto(undefined, nothingUnsaved, foldOf([succeeded])),
    calls: 19,
    failures: 9,
  };
  const fold = foldOf([succeeded]);
  expect(
    keepInMemory({ saved: { ...saved, calls: 19, failures: 2 }, unsaved: nothingUnsaved }, fold),
  ).toBeDefined();
  expect(keepInMemory({ saved, unsaved: nothingUnsaved }, fold)).toBeUndefined();
  expect(hasToBeWritten(saved, foldInto(saved, nothingUnsaved, fold), fold)).toBe(true);
});

test('successes in memory do not end failures in a row that another replica has saved since', () => {
  const view = keepInMemory(unknown, foldOf([succeeded, succeeded]))!;
  const saved = foldOutcomes(undefined, parts, [failed, failed], policy, startMs + 1);
  const next = foldInto(saved, view.unsaved, foldOf([failed], startMs + 2));
  expect(next).toMatchObject({ consecutiveFailures: 3, failures: 3, calls: 5 });
});

test('a replica that writes little counts as one that writes everything', () => {
  const steps = fc.array(
    fc.record({
      outcomes: fc.array(
        fc.integer({ min: 0, max: 99 }).map((dice): CircuitOutcome => ({ succeeded: dice < 52 })),
        { minLength: 1, maxLength: 4 },
      ),
      pauseMs: fc.integer({ min: 0, max: 6_000 }),
    }),
    { minLength: 20, maxLength: 80 },
  );
  let opened = 0;
  fc.assert(
    fc.property(steps, (list) => {
      const replica = createReplica();
      let everything: CircuitState | undefined;
      let nowMs = startMs;
      for (const { outcomes, pauseMs } of list) {
        nowMs += pauseMs;
        everything = foldOutcomes(everything, parts, outcomes, policy, nowMs);
        const state = replica.take(outcomes, nowMs);
        expect(state).toEqual(everything);
        if (state.state === 'open') {
          opened += 1;
          return;
        }
      }
    }),
    { numRuns: 1_000 },
  );
  expect(opened).toBeGreaterThan(100);
});

import { expect, test } from '@jest/globals';
import type { Facts, OperationFact } from '../facts.js';
import { checkPaused } from './pauses.js';

const pause: OperationFact = {
  name: 'pause-function',
  functionId: 'map-push',
  fromMs: 10_000,
  untilMs: 15_000,
};

function rulesOf(run: { functionId: string; cameMs: number; begunMs: number }, operation = pause): string[] {
  const facts = {
    operations: [operation],
    events: [{ id: 'e1', receivedAtMs: run.cameMs }],
    runs: [{ id: 'r1', eventId: 'e1', functionId: run.functionId }],
    ledger: [{ what: 'begun', run: 'r1', step: 'a', attempt: 1, atMs: run.begunMs }],
  };
  return checkPaused(facts as unknown as Facts).map(({ rule }) => rule);
}

test('a run of a function that is paused, or of any where the environment is', () => {
  const found = ['a run began while it was paused'];
  const early = { functionId: 'map-push', cameMs: 12_000, begunMs: 14_999 };
  expect(rulesOf(early)).toEqual(found);
  expect(rulesOf({ ...early, begunMs: 15_000 })).toEqual([]);
  // It may have been let go before, and have been on its way.
  expect(rulesOf({ ...early, cameMs: 10_500 })).toEqual([]);
  expect(rulesOf({ ...early, functionId: 'flaky-pull' })).toEqual([]);
  const { functionId: _all, ...span } = pause;
  expect(rulesOf({ ...early, functionId: 'flaky-pull' }, { ...span, name: 'pause-environment' })).toEqual(
    found,
  );
  expect(rulesOf(early, { ...pause, name: 'force-open' })).toEqual([]);
});

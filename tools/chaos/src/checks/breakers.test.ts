/** Each rule of the fragile endpoint against facts in which its one violation is planted. It opens at 10 s, and again at 14.2 s. */
import { expect, test } from '@jest/globals';
import { fragileFunction } from '../cases/breakers.js';
import type { BreakerChange, Facts, OperationFact } from '../facts.js';
import { checkAttempts, checkBreaker } from './breakers.js';

const at = (change: BreakerChange['change'], atMs: number): BreakerChange => ({
  functionId: fragileFunction.id,
  change,
  atMs,
});
const trouble: OperationFact = { name: 'break-endpoint', fromMs: 8_000, untilMs: 17_000 };
const changes = [at('opened', 10_000), at('opened', 14_200), at('closed', 18_300)];
const calls = [9_000, 9_300, 9_900, 10_200, 14_100, 18_200, 18_400, 18_500];

interface Told {
  calls?: number[];
  changes?: BreakerChange[];
  operations?: OperationFact[];
  faults?: Facts['faults'];
}

function rulesOf(over: Told): string[] {
  const told = { calls, changes, operations: [trouble], faults: [], ...over };
  const ledger = told.calls.map((atMs) => ({ what: 'called', run: 'r1', step: 'fails', attempt: 1, atMs }));
  const { operations, faults, changes: breakerChanges } = told;
  return checkBreaker({ ledger, breakerChanges, operations, faults } as unknown as Facts).map(
    ({ rule }) => rule,
  );
}

const fault = (name: string, startedAtMs: number) => [{ name, startedAtMs, endedAtMs: startedAtMs + 100 }];

test('one that is open is left alone, and is called once to see', () => {
  expect(rulesOf({})).toEqual([]);
  expect(rulesOf({ calls: [...calls, 13_000] })).toEqual([
    'an open breaker was called',
    'a breaker let through more than its probe',
  ]);
  const twice = [...calls, 14_050];
  expect(rulesOf({ calls: twice })).toEqual(['a breaker let through more than its probe']);
  // Of what an executor was kept from hearing of nothing is said.
  expect(rulesOf({ calls: twice, faults: fault('freeze-network', 11_000) })).toEqual([]);
  expect(rulesOf({ calls: twice, faults: fault('kill-executor', 1_000) })).toEqual([]);
  expect(rulesOf({ calls: twice, faults: fault('kill-ingest', 11_000) })).toHaveLength(1);
});

test('one that is forced open is not called at all', () => {
  const forced: OperationFact = { name: 'force-open', fromMs: 30_000, untilMs: 36_000 };
  const told = { operations: [forced], changes: [at('forced', 29_900), at('reset', 36_100)] };
  expect(rulesOf({ ...told, calls: [30_500, 36_050] })).toEqual([]);
  expect(rulesOf({ ...told, calls: [34_000] })).toEqual(['a breaker that was forced open was called']);
  expect(rulesOf({ ...told, calls: [34_000], faults: fault('kill-nats', 33_000) })).toEqual([]);
});

test('one that fails again and again opens', () => {
  expect(rulesOf({ changes: [], calls: [8_100, 8_400, 8_700] })).toEqual(['a breaker did not open']);
  expect(rulesOf({ changes: [], calls: [8_100, 8_400] })).toEqual([]);
});

test('an attempt that was used up by waiting', () => {
  const rules = (failures: number, status: string) =>
    checkAttempts({
      runs: [{ id: 'r1', functionId: fragileFunction.id, failures, status }],
      ledger: [9_000, 9_300].map((atMs) => ({ what: 'called', run: 'r1', atMs })),
    } as unknown as Facts).map(({ rule }) => rule);
  expect(rules(1, 'completed')).toEqual([]);
  expect(rules(2, 'failed')).toEqual([]);
  const found = ['a run used up attempts without having been called'];
  expect(rules(2, 'completed')).toEqual(found);
  expect(rules(3, 'failed')).toEqual(found);
});

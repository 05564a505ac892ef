import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createWaitState } from './wait-state.js';
import type { AwaitedRun } from './wait-state.js';

const run = (id: string, status: AwaitedRun['status'] = 'completed'): AwaitedRun => ({
  id,
  functionId: id,
  status,
});

test('an event without runs is settled when it is routed, not before', () => {
  const state = createWaitState(['e']);
  expect(state.isSettled()).toBe(false);
  state.routed('e', []);
  expect(state.isSettled()).toBe(true);
  expect(state.runs()).toEqual([]);
});

test('a skipped run has ended when it is told', () => {
  const state = createWaitState(['e']);
  state.routed('e', [run('a', 'skipped')]);
  expect(state.isSettled()).toBe(true);
});

test('what has ended stays as it was first told', () => {
  const state = createWaitState(['e']);
  state.ended('e', { ...run('a'), output: '1' });
  state.routed('e', [run('a', 'queued')]);
  state.ended('e', run('a', 'failed'));
  expect(state.runs()).toEqual([{ ...run('a'), output: '1' }]);
});

test('runs of an event that is not routed yet are shown as they are known', () => {
  const state = createWaitState(['e', 'f']);
  state.ended('f', run('b'));
  state.routed('e', [run('a', 'queued')]);
  expect(state.isRouted()).toBe(false);
  expect(state.runs().map(({ id, status }) => [id, status])).toEqual([
    ['a', 'queued'],
    ['b', 'completed'],
  ]);
});

test('in whatever order and however often it is told, a wait is settled exactly when all is known', () => {
  const plan: [string, string[]][] = [
    ['e1', ['a', 'b']],
    ['e2', []],
    ['e3', ['c']],
  ];
  const facts = plan.flatMap(([eventId, runIds]) => [
    { eventId, runIds, kind: 'routed' as const },
    ...runIds.map((runId) => ({ eventId, runId, kind: 'ended' as const })),
  ]);
  const anyOrder = fc.shuffledSubarray([...facts, ...facts], { minLength: 1 });
  fc.assert(
    fc.property(anyOrder, (told) => {
      const state = createWaitState(plan.map(([eventId]) => eventId));
      const known = new Set<unknown>();
      for (const fact of told) {
        if (fact.kind === 'routed')
          state.routed(
            fact.eventId,
            fact.runIds.map((id) => run(id, 'queued')),
          );
        else state.ended(fact.eventId, run(fact.runId));
        known.add(fact);
        expect(state.isSettled()).toBe(known.size === facts.length);
      }
    }),
  );
});

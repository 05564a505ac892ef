import { expect, test } from '@jest/globals';
import { modes, namesOf } from './case.js';
import { caseOfEvent, caseOfFunction, cases, emissionAt, functionsOf } from './cases.js';
import { fragileFunction } from './cases/breakers.js';

test('the load of a seed can be replayed, event by event', () => {
  const drawn = (seed: number) => Array.from({ length: 200 }, (_, n) => emissionAt(seed, n, 20));
  expect(drawn(9)).toEqual(drawn(9));
  expect(drawn(9).map(({ data }) => data)).not.toEqual(drawn(10).map(({ data }) => data));
  expect(new Set(drawn(9).map(({ data }) => data.key)).size).toBe(200);
});

test('all that clients can emit is emitted, in both modes', () => {
  const drawn = Array.from({ length: 2_000 }, (_, n) => emissionAt(1, n, 20));
  const seen = new Set(drawn.map(({ kind, mode }) => `${kind.name} ${mode}`));
  const wanted = cases
    .filter(({ weight }) => weight > 0)
    .flatMap(({ name }) => modes.map((mode) => `${name} ${mode}`));
  expect(seen).toEqual(new Set(wanted));
});

test('every run that a case expects is of a function that is registered', () => {
  const ofBoth = modes.flatMap((mode) => functionsOf(mode, '').map(({ id }) => id));
  const registered = new Set([...ofBoth, fragileFunction.id]);
  for (let n = 0; n < 500; n += 1) {
    const { kind, mode, data } = emissionAt(2, n, 20);
    const expected = kind.expect(data.input, namesOf(mode));
    expect(expected.length).toBeGreaterThan(0);
    for (const { functionId } of expected) expect(registered).toContain(functionId);
  }
});

test('a case is found by its event and by its function, and what is sent beside has none', () => {
  expect(caseOfEvent('chaos.push.steps')).toMatchObject({ kind: { name: 'steps' }, mode: 'push' });
  expect(caseOfFunction('double-pull')).toMatchObject({ kind: { name: 'double' }, mode: 'pull' });
  expect(caseOfEvent('chaos.pull.paid')).toBeUndefined();
});

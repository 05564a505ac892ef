import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { limits } from './limits.js';
import { mergeMismatch, mismatchKinds, mismatchSchema } from './mismatch.js';
import type { Mismatch, MismatchedStep } from './mismatch.js';

const found = fc.uniqueArray(
  fc.record({
    id: fc.nat(30).map((n) => `step-${n}`),
    kind: fc.constantFrom(...mismatchKinds),
    type: fc.constant('run' as const),
    status: fc.constant('completed' as const),
  }),
  { selector: ({ id }) => id, maxLength: 31 },
);
const rankOf = (of: Mismatch | undefined, id: string): number => {
  const kind = of?.steps.find((one) => one.id === id)?.kind;
  return kind === undefined ? -1 : mismatchKinds.indexOf(kind);
};
const step = (id: string): MismatchedStep => ({
  id,
  kind: 'not_called',
  type: 'sleep',
  status: 'waiting',
});

describe('what was found of a run', () => {
  test('is merged without repetition, keeps what was known, and never exceeds its bound', () => {
    fc.assert(
      fc.property(fc.array(found, { maxLength: 5 }), (findings) => {
        let known: Mismatch | undefined;
        for (const steps of findings) {
          const merged = mergeMismatch(known, steps);
          if (merged === undefined) {
            const isFull = known?.steps.length === limits.mismatchedStepsMax;
            const isKnown = (one: MismatchedStep) =>
              rankOf(known, one.id) >= mismatchKinds.indexOf(one.kind) ||
              (isFull && rankOf(known, one.id) === -1);
            expect(steps.every(isKnown)).toBe(true);
            continue;
          }
          expect(mismatchSchema.parse(merged)).toEqual(merged);
          for (const { id } of known?.steps ?? []) {
            expect(rankOf(merged, id)).toBeGreaterThanOrEqual(rankOf(known, id));
          }
          expect(merged.count).toBeGreaterThanOrEqual(merged.steps.length);
          expect(new Set(merged.steps.map(({ id }) => id)).size).toBe(merged.steps.length);
          expect(mergeMismatch(merged, steps)).toBeUndefined();
          known = merged;
        }
      }),
    );
  });

  test('says how many there are when it lists only some', () => {
    const many = Array.from({ length: 50 }, (_, n) => step(`s${n}`));
    const merged = mergeMismatch(undefined, many);
    expect(merged).toMatchObject({ count: 50 });
    expect(merged?.steps).toHaveLength(limits.mismatchedStepsMax);
  });
});

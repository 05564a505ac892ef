import { expect, test } from '@jest/globals';
import { runEntrySchema } from './journal.js';
import { limits } from './limits.js';
import { isProgress, stepIdSchema, stepRecordSchema } from './step.js';

const completed = { id: 'a', name: 'a', attempt: 1, type: 'run', startedAtMs: 1, endedAtMs: 2 };

test.each([
  ['ASCII', 'x', 1],
  ['two bytes', 'é', 2],
  ['three bytes', '€', 3],
  ['a surrogate pair', '😀', 4],
])('limits of outputs and names count bytes: %s', (_what, character, bytes) => {
  const fits = (limit: number): string => character.repeat(Math.floor(limit / bytes));
  const accepts = (output: string): boolean[] => [
    stepRecordSchema.safeParse({ ...completed, status: 'completed', output }).success,
    runEntrySchema.safeParse({ kind: 'completed', served: 1, output }).success,
  ];
  expect(accepts(fits(limits.stepOutputBytesMax))).toEqual([true, true]);
  expect(accepts(fits(limits.stepOutputBytesMax) + character)).toEqual([false, false]);
  const idBytesMax = limits.stepNameBytesMax + 8;
  expect(stepIdSchema.safeParse(fits(idBytesMax)).success).toBe(true);
  expect(stepIdSchema.safeParse(fits(idBytesMax) + character).success).toBe(false);
});

test('a name is not empty and has no NUL, which PostgreSQL cannot hold', () => {
  expect(stepIdSchema.safeParse('').success).toBe(false);
  expect(stepIdSchema.safeParse('a\0b').success).toBe(false);
});

test('everything but a failed attempt is progress', () => {
  const statuses = ['completed', 'failed', 'waiting', 'retrying'] as const;
  expect(statuses.filter((status) => isProgress({ status }))).toEqual(['completed', 'failed', 'waiting']);
});

/**
 * Where the record of a run and the code that replays it part: what the SDK finds, the journal carries, Postgres keeps on the
 * run and people are shown. It only grows: what was found once stays on the run.
 */
import { z } from 'zod';
import { limits } from './limits.js';
import { stepIdSchema, stepStatuses, stepTypes } from './step.js';

/**
 * Each says more than those before it. `out_of_turn`: the function went on, or waits, without calling the step where it is
 * recorded. `not_called`: it returned without having called it. `type_changed`: it called it as another type, which failed the run.
 */
export const mismatchKinds = ['out_of_turn', 'not_called', 'type_changed'] as const;

const mismatchedStepSchema = z.object({
  id: stepIdSchema,
  kind: z.enum(mismatchKinds),
  type: z.enum(stepTypes).describe('as which it is recorded'),
  status: z.enum(stepStatuses).describe('as it was recorded when that was found'),
  calledAs: z.enum(stepTypes).optional().describe('with `type_changed`: as which the function calls it now'),
});
export type MismatchedStep = z.infer<typeof mismatchedStepSchema>;

export const mismatchSchema = z.object({
  count: z.number().int().positive().describe('of steps; at least so many if not all of them are listed'),
  steps: z.array(mismatchedStepSchema).min(1).max(limits.mismatchedStepsMax),
});
export type Mismatch = z.infer<typeof mismatchSchema>;

/** What is known with what was found besides; `undefined` if that is nothing new, or there is no room for more. */
export function mergeMismatch(
  known: Mismatch | undefined,
  found: readonly MismatchedStep[],
): Mismatch | undefined {
  const steps = new Map((known?.steps ?? []).map((step) => [step.id, step]));
  const isFull = steps.size >= limits.mismatchedStepsMax;
  const fresh = found.filter(
    (step) => (isFull ? steps.has(step.id) : true) && saysMore(step, steps.get(step.id)),
  );
  if (fresh.length === 0) return undefined;
  for (const step of fresh) steps.set(step.id, step);
  return {
    count: Math.max(known?.count ?? 0, steps.size),
    steps: [...steps.values()].slice(0, limits.mismatchedStepsMax),
  };
}

function saysMore(step: MismatchedStep, known: MismatchedStep | undefined): boolean {
  return known === undefined || mismatchKinds.indexOf(step.kind) > mismatchKinds.indexOf(known.kind);
}

/** One attempt of one step, as the SDK reports it, the journal carries it and Postgres keeps it. */
import { z } from 'zod';
import { failureSchema } from './failure.js';
import { limits } from './limits.js';
import { utf8Text } from './utf8-text.js';

/** name, then `:1`, `:2`… for its repetitions within a run. */
export const stepIdSchema = text(limits.stepNameBytesMax + 8);

const timeMs = z.number().int().nonnegative();
const attemptSchema = z.number().int().min(1);

const base = {
  id: stepIdSchema,
  name: text(limits.stepNameBytesMax),
  attempt: attemptSchema,
  startedAtMs: timeMs,
};
/**
 * The step's place among those that had settled (`completed` or `failed`) as the function saw them, from 0. A replay lets
 * steps settle in this order, so that `Promise.race` is won by the same one again; sleeps that a timer ended have none.
 * Postgres keeps it as an `integer`, and one that is larger would fail the whole batch it is written with.
 */
const order = z
  .number()
  .int()
  .nonnegative()
  .max(2 ** 31 - 1)
  .optional();
const ended = { ...base, endedAtMs: timeMs };

/** The output is JSON text, kept as it came: `jsonb` and re-encoding would change or refuse some of it. */
export const completedStepSchema = z.object({
  ...ended,
  /** `sleep`: until a time that had already passed. */
  type: z.enum(['run', 'sleep']),
  order,
  status: z.literal('completed'),
  output: utf8Text(limits.stepOutputBytesMax).optional(),
});
export const failedStepSchema = z.object({
  ...ended,
  type: z.literal('run'),
  order,
  status: z.literal('failed'),
  error: failureSchema,
});
export const retryingStepSchema = z.object({
  ...ended,
  type: z.literal('run'),
  status: z.literal('retrying'),
  error: failureSchema,
  retryInMs: z.number().int().nonnegative(),
});
/** A sleep that has begun; Postgres' clock fixes when it is due as it accepts the first such record. */
export const waitingStepSchema = z.object({
  ...base,
  type: z.literal('sleep'),
  status: z.literal('waiting'),
  due: z.union([
    z.object({ inMs: z.number().int().nonnegative() }),
    z.object({ atMs: z.number().int().nonnegative() }),
  ]),
});

export const stepRecordSchema = z.discriminatedUnion('status', [
  completedStepSchema,
  failedStepSchema,
  retryingStepSchema,
  waitingStepSchema,
]);
export type StepRecord = z.infer<typeof stepRecordSchema>;

/** Whether the function came forward by it: then its calls that failed before no longer count. A failed attempt is none. */
export function isProgress(record: Pick<StepRecord, 'status'>): boolean {
  return record.status !== 'retrying';
}

export const stepTypes = ['run', 'sleep'] as const;
export type StepType = (typeof stepTypes)[number];

/** `errored`: a failed attempt whose retry is due. `waiting` and `retrying` have a timer. */
export const stepStatuses = ['completed', 'failed', 'retrying', 'errored', 'waiting'] as const;
export type StepStatus = (typeof stepStatuses)[number];

/** What a replay has to know of a step: its last attempt. */
export const memoizedStepSchema = z.object({
  id: stepIdSchema,
  type: z.enum(stepTypes),
  attempt: attemptSchema,
  status: z.enum(stepStatuses),
  /** As it was recorded. */
  order,
  output: z.string().optional(),
  error: failureSchema.optional(),
});
export type MemoizedStep = z.infer<typeof memoizedStepSchema>;

/** Postgres' text cannot hold NUL, and one such record would fail the whole batch it is written with. */
function text(bytesMax: number) {
  return utf8Text(bytesMax)
    .min(1)
    .refine((value) => !value.includes('\0'), 'must not contain NUL');
}

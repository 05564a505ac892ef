/** One attempt of one step, as the SDK reports it, the journal carries it and Postgres keeps it. */
import { z } from 'zod';
import { failureSchema } from './failure.js';
import { limits } from './limits.js';

/** name, then `:1`, `:2`… for its repetitions within a run. */
export const stepIdSchema = z
  .string()
  .min(1)
  .max(limits.stepNameBytesMax + 8);

const timeMs = z.number().int().nonnegative();
const attemptSchema = z.number().int().min(1);

const base = {
  id: stepIdSchema,
  name: z.string().min(1).max(limits.stepNameBytesMax),
  attempt: attemptSchema,
  startedAtMs: timeMs,
};
const ended = { ...base, type: z.literal('run'), endedAtMs: timeMs };

/** The output is JSON text, kept as it came: `jsonb` and re-encoding would change or refuse some of it. */
export const completedStepSchema = z.object({
  ...ended,
  status: z.literal('completed'),
  output: z.string().max(limits.stepOutputBytesMax).optional(),
});
export const failedStepSchema = z.object({ ...ended, status: z.literal('failed'), error: failureSchema });
export const retryingStepSchema = z.object({
  ...ended,
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
  output: z.string().optional(),
  error: failureSchema.optional(),
});
export type MemoizedStep = z.infer<typeof memoizedStepSchema>;

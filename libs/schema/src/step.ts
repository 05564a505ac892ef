/** One attempt of one step, as the SDK reports it, the journal carries it and Postgres keeps it. */
import { z } from 'zod';
import { failureSchema } from './failure.js';
import { eventNameSchema, functionIdSchema, uuidSchema } from './identifiers.js';
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
 * steps settle in this order, so that `Promise.race` is won by the same one again; sleeps and waits that the platform ended
 * have none.
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
  type: z.enum(['run', 'sleep', 'compensate']),
  order,
  status: z.literal('completed'),
  output: utf8Text(limits.stepOutputBytesMax).optional(),
});
/** `invoke`: the other function could not be started. */
const attemptedType = z.enum(['run', 'invoke', 'compensate']);
export const failedStepSchema = z.object({
  ...ended,
  type: attemptedType,
  order,
  status: z.literal('failed'),
  error: failureSchema,
});
export const retryingStepSchema = z.object({
  ...ended,
  type: attemptedType,
  status: z.literal('retrying'),
  error: failureSchema,
  retryInMs: z.number().int().nonnegative(),
});
export const signalNameSchema = text(limits.stepNameBytesMax);

const dueIn = z.object({ inMs: timeMs });

/** What a step waits for, other than a time. */
export const awaitedSchema = z.discriminatedUnion('kind', [
  /** An event of this name that was received after the one that started the run, and for which all that is given holds. */
  z.object({
    kind: z.literal('event'),
    event: eventNameSchema,
    /** CEL over `event`, the one that came, and `trigger`, the one that started the run. */
    condition: text(limits.expressionBytesMax).optional(),
    /** What the event's data has at this path, as the trigger's has it. */
    match: z
      .object({
        path: text(limits.matchPathBytesMax),
        value: z.union([storable(utf8Text(limits.matchValueBytesMax)), z.number(), z.boolean()]),
      })
      .optional(),
  }),
  z.object({ kind: z.literal('signal'), signal: signalNameSchema }),
  /** The run of this function that this event starts. */
  z.object({ kind: z.literal('run'), eventId: uuidSchema, functionId: functionIdSchema }),
]);
export type Awaited = z.infer<typeof awaitedSchema>;

const waiting = { ...base, status: z.literal('waiting') };
/**
 * A sleep or a wait that has begun. Postgres' clock fixes when it is due as it accepts the first such record; a wait that
 * is due has not been answered in time.
 */
export const waitingStepSchema = z.discriminatedUnion('type', [
  z.object({ ...waiting, type: z.literal('sleep'), due: z.union([dueIn, z.object({ atMs: timeMs })]) }),
  z.object({ ...waiting, type: z.literal('wait_for_event'), awaited: awaitedSchema, due: dueIn }),
  z.object({ ...waiting, type: z.literal('wait_for_signal'), awaited: awaitedSchema, due: dueIn }),
  z.object({ ...waiting, type: z.literal('invoke'), awaited: awaitedSchema, due: dueIn.optional() }),
]);

/** A compensation that will be run if the run stops. Its attempts are counted from 1, and this is none. */
export const registeredStepSchema = z.object({
  ...ended,
  attempt: z.literal(0),
  type: z.literal('compensate'),
  status: z.literal('registered'),
});

export const stepRecordSchema = z.discriminatedUnion('status', [
  completedStepSchema,
  failedStepSchema,
  retryingStepSchema,
  waitingStepSchema,
  registeredStepSchema,
]);
export type StepRecord = z.infer<typeof stepRecordSchema>;

/**
 * Stands in the journal for an output above `limits.inlineOutputBytesMax`, whose text Postgres has: it was stored there before
 * the entry was appended, and becomes the step's (or the run's) in the transaction that accepts the entry.
 */
export const outputClaimSchema = z.object({
  /** `sha256-` and the digest of the text: no JSON, so that it never passes for one. */
  hash: z.string().regex(/^sha256-[A-Za-z0-9_-]{43}$/),
  bytes: z.number().int().positive(),
});
export type OutputClaim = z.infer<typeof outputClaimSchema>;

/** A step's record in the journal. SDKs know nothing of claims. */
export const journaledStepSchema = z.discriminatedUnion('status', [
  completedStepSchema.extend({ outputClaim: outputClaimSchema.optional() }),
  failedStepSchema,
  retryingStepSchema,
  waitingStepSchema,
  registeredStepSchema,
]);
export type JournaledStep = z.infer<typeof journaledStepSchema>;

/** Whether the function came forward by it: then its calls that failed before no longer count. A failed attempt is none. */
export function isProgress(record: Pick<StepRecord, 'status'>): boolean {
  return record.status !== 'retrying';
}

export const stepTypes = [
  'run',
  'sleep',
  'wait_for_event',
  'wait_for_signal',
  'invoke',
  'compensate',
] as const;
export type StepType = (typeof stepTypes)[number];

/** `errored`: a failed attempt whose retry is due. `retrying` has a timer, and so has what is `waiting`, unless it waits for ever. */
export const stepStatuses = ['completed', 'failed', 'retrying', 'errored', 'waiting', 'registered'] as const;
export type StepStatus = (typeof stepStatuses)[number];

/** What a replay has to know of a step: its last attempt. */
export const memoizedStepSchema = z.object({
  id: stepIdSchema,
  type: z.enum(stepTypes),
  /** 0: registered. */
  attempt: z.number().int().nonnegative(),
  status: z.enum(stepStatuses),
  /** As it was recorded. */
  order,
  output: z.string().optional(),
  error: failureSchema.optional(),
});
export type MemoizedStep = z.infer<typeof memoizedStepSchema>;

function text(bytesMax: number) {
  return storable(utf8Text(bytesMax).min(1));
}

/** Postgres' text cannot hold NUL, and one such record would fail the whole batch it is written with. */
function storable(schema: z.ZodString) {
  return schema.refine((value) => !value.includes('\0'), 'must not contain NUL');
}

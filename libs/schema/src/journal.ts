/**
 * A run's journal: what its executor appends to RESULTS. One message is one atomic append of one or more entries, in
 * their order; `run` entries, if any, are the last. Its subject ends in `run` if it holds a run entry, else in `step`.
 */
import { z } from 'zod';
import { circuitOverridesSchema } from './circuit-breaker.js';
import { failureSchema } from './failure.js';
import { buildIdSchema, uuidSchema } from './identifiers.js';
import { limits } from './limits.js';
import { mismatchSchema } from './mismatch.js';
import { journaledStepSchema, outputClaimSchema, stepIdSchema } from './step.js';
import type { OutputClaim } from './step.js';
import { utf8Text } from './utf8-text.js';

/** How a call of the function went, for the circuit breaker. */
export const callOutcomeSchema = z.object({
  /** The URL for push, `worker` for pull; hashed in keys, never a metric label. */
  endpoint: z.string(),
  succeeded: z.boolean(),
  /** On the one call that a half-open breaker let through: `startedAtMs` of its claim, by which it is told from a later one. */
  probe: z.number().int().nonnegative().optional(),
  /** What the function said of its breakers when it was called; it holds for this outcome. */
  policy: z.object(circuitOverridesSchema.shape).optional(),
});
export type CallOutcome = z.infer<typeof callOutcomeSchema>;

/** `runs.wake` as the executor had read it when it began: what this activation has served once it ends. */
const served = z.number().int().nonnegative();
const ending = {
  served,
  call: callOutcomeSchema.optional(),
  /** All that is known of it by now; absent when that is as before. */
  mismatch: mismatchSchema.optional(),
  /** What was hung up on, or lost, may go on for so long: its slots of flow control are kept for it. */
  callEndsInMs: z.number().int().positive().optional(),
};
/** How long the function was at work since the run was activated; what the function's timeout bounds. */
const activeMs = z.number().int().nonnegative().optional();
const retrySchema = z.object({
  /** The attempt that failed, from 1; consecutive ones without progress are counted. */
  attempt: z.number().int().min(1),
  inMs: z.number().int().nonnegative(),
  error: failureSchema,
});

/** What a run that has stopped could not undo. */
export const notCompensatedSchema = z.object({
  /** The id of the compensation: `compensate(<name>)`. */
  step: stepIdSchema,
  error: failureSchema.pick({ name: true, message: true }),
});
export type NotCompensated = z.infer<typeof notCompensatedSchema>;
const notCompensated = z.array(notCompensatedSchema).optional();

/** What a run that is stopping will be. */
export const stopOutcomeSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('cancelled') }),
  z.object({ kind: z.literal('failed'), error: failureSchema }),
]);
export type StopOutcome = z.infer<typeof stopOutcomeSchema>;

export const runEntrySchema = z.discriminatedUnion('kind', [
  /**
   * The activation goes on without having recorded anything yet: the run shows as running. `calls` is written before the
   * function is called by an activation that was delivered often: its calls that left no record so far, this one included.
   */
  z.object({ kind: z.literal('started'), calls: z.number().int().positive().optional() }),
  /** Nothing to do until a timer; with `retry` the function itself threw and will be called again. */
  z.object({ kind: z.literal('yielded'), ...ending, activeMs, retry: retrySchema.optional() }),
  /** The function could not be called or was lost: unreachable, 5xx, timed out, worker gone. */
  z.object({ kind: z.literal('call_failed'), ...ending, activeMs, retry: retrySchema }),
  /** The breaker is open, the worker declined, or a call may go on that is to be over first: the run waits and no attempt is used. */
  z.object({
    kind: z.literal('deferred'),
    served,
    inMs: z.number().int().nonnegative(),
    reason: z.string(),
    callEndsInMs: ending.callEndsInMs,
  }),
  /**
   * It will end like this, once what it had registered has been undone; the first one holds. The function is called for
   * that, and for nothing else.
   */
  z.object({
    kind: z.literal('stopping'),
    outcome: stopOutcomeSchema,
    call: ending.call,
    mismatch: ending.mismatch,
  }),
  z.object({
    kind: z.literal('completed'),
    ...ending,
    output: utf8Text(limits.stepOutputBytesMax).optional(),
    outputClaim: outputClaimSchema.optional(),
  }),
  z.object({ kind: z.literal('failed'), ...ending, error: failureSchema, notCompensated }),
  /** Somebody asked for it. What the function may still do is not heard any more. */
  z.object({ kind: z.literal('cancelled'), ...ending, notCompensated }),
  /** It had not begun when it was to: its function is never called. */
  z.object({ kind: z.literal('skipped'), served, reason: z.string() }),
]);
export type RunEntry = z.infer<typeof runEntrySchema>;
export type EndingRunEntry = Exclude<RunEntry, { kind: 'started' | 'stopping' }>;

export const journalEntrySchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('step'), step: journaledStepSchema }),
  z.object({ type: z.literal('run'), run: runEntrySchema }),
]);
export type JournalEntry = z.infer<typeof journalEntrySchema>;

/** Who appends: compared on a conflict to tell older from newer. */
export const writerSchema = z.object({
  /** Sequence of the activation in STEPS; grows for ever, also over a wipe of NATS. */
  activation: z.number().int().positive(),
  /** Its delivery count. */
  delivery: z.number().int().positive(),
  executor: z.string(),
});
export type Writer = z.infer<typeof writerSchema>;

/** From now on the run is for workers of this build alone, once the activation that says so is over. */
const pinSchema = z.object({
  buildId: buildIdSchema,
  /** What was served before this activation: until more is, the run is activated where it was. */
  servedBefore: z.number().int().nonnegative(),
});
export type Pin = z.infer<typeof pinSchema>;

export const journalMessageSchema = z.object({
  environmentId: uuidSchema,
  runId: uuidSchema,
  functionId: z.string(),
  /** The last entry on Postgres' chain as the writer knows it; 0 if none. */
  prev: z.number().int().nonnegative(),
  writer: writerSchema,
  /** When the activation called the function, for `started_at` and the trace. */
  activatedAtMs: z.number().int().nonnegative(),
  /** Of the first message of an activation that pins the run. */
  pin: pinSchema.optional(),
  entries: z.array(journalEntrySchema).min(1),
});
export type JournalMessage = z.infer<typeof journalMessageSchema>;

/** Whether a run that has such an entry has begun: one that was only put off has not, nor one that never will. */
export function isBeginning(entry: JournalEntry): boolean {
  return entry.type === 'step' || (entry.run.kind !== 'deferred' && entry.run.kind !== 'skipped');
}

/** What an entry claims: the text of its step's output, or of its run's. */
export function outputClaimOf(entry: JournalEntry): OutputClaim | undefined {
  const ended = entry.type === 'step' ? entry.step : entry.run;
  return 'outputClaim' in ended ? ended.outputClaim : undefined;
}

/** Negative when `a` is of an older activation or delivery than `b`, 0 when they are the same writer. */
export function compareWriters(a: Writer, b: Writer): number {
  return a.activation - b.activation || a.delivery - b.delivery;
}

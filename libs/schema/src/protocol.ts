/**
 * What an SDK and an executor say to each other: by HTTP (push) or over a WebSocket (pull). Public and versioned: fields
 * are only ever added, both sides ignore what they do not know, and the suite beside this file keeps old messages valid.
 */
import { z } from 'zod';
import { failureSchema } from './failure.js';
import { buildIdSchema, uuidSchema } from './identifiers.js';
import { writerSchema } from './journal.js';
import { mismatchSchema } from './mismatch.js';
import { loggedLinesSchema } from './run-log.js';
import { memoizedStepSchema, stepRecordSchema } from './step.js';

export const protocolVersion = 1;
/**
 * Of the invocation of a run that is stopping. An SDK that knows nothing of it declines it, as it does every version but its
 * own, and does not go on with the function.
 */
export const stoppingVersion = 2;

export function isInvocationVersion(v: number): boolean {
  return v === protocolVersion || v === stoppingVersion;
}

/** Paths below the one IRONFLOW_URL. */
export const workerPath = '/v1/workers';

/** The event as it is handed to the function; `data` is JSON text. */
export const deliveredEventSchema = z.object({
  id: uuidSchema,
  name: z.string(),
  data: z.string(),
  version: z.string().optional(),
  receivedAtMs: z.number(),
  correlationId: z.string(),
});
export type DeliveredEvent = z.infer<typeof deliveredEventSchema>;

/** Everything an SDK needs to drive a run from where it is. */
export const invocationSchema = z.object({
  v: z.number().int(),
  run: z.object({
    id: uuidSchema,
    functionId: z.string(),
    /** Calls of the function without progress so far, plus one. */
    attempt: z.number().int().min(1),
  }),
  event: deliveredEventSchema,
  /** Of a batch: those after the first, in the order in which they came. */
  laterEvents: z.array(deliveredEventSchema).optional(),
  /** The last attempt of every step; those without an `order` (sleeps that ended) in the order in which they ended. */
  memo: z.array(memoizedStepSchema),
  /** What is known not to fit the function's code: it is not told again. */
  mismatch: mismatchSchema.optional(),
  /** The user's own spans go below the run's. */
  traceparent: z.string().optional(),
  /** With `v` 2, always: nothing new is begun, and what the function has registered is undone. */
  stopping: z.object({ as: z.enum(['failed', 'cancelled']) }).optional(),
  /** Push only: the SDK aborts when so much time has passed since it got the call. */
  deadlineMs: z.number().int().positive().optional(),
});
export type Invocation = z.infer<typeof invocationSchema>;

export const declineReasons = [
  'function_not_found',
  'protocol_version_unsupported',
  'invocation_invalid',
] as const;
export type DeclineReason = (typeof declineReasons)[number];

/** What does not fit the function's code, with what was known before; absent when that is nothing new. */
const mismatch = mismatchSchema.optional();

export const outcomeSchema = z.discriminatedUnion('kind', [
  /** Push only: new steps were recorded and the function would go on: call again. */
  z.object({ kind: z.literal('continue') }),
  /** Everything that could run has run; a timer will wake the run. */
  z.object({ kind: z.literal('yielded'), mismatch }),
  /** The function itself threw (not a step); `retryInMs` is absent when it is not to be called again. */
  z.object({
    kind: z.literal('threw'),
    error: failureSchema,
    retryInMs: z.number().int().nonnegative().optional(),
    mismatch,
  }),
  /** Of a run that is stopping: every compensation that the function registered has been tried. */
  z.object({ kind: z.literal('stopped'), mismatch }),
  /** `output` is JSON text. */
  z.object({ kind: z.literal('completed'), output: z.string().optional(), mismatch }),
  /** Pull only: this worker cannot drive the run, another one or a later version may. No attempt is used. */
  z.object({ kind: z.literal('declined'), reason: z.enum(declineReasons) }),
]);
export type Outcome = z.infer<typeof outcomeSchema>;

/** The answer of a push endpoint. */
export const pushAnswerSchema = z.object({
  v: z.number().int(),
  records: z.array(stepRecordSchema),
  outcome: outcomeSchema,
  /** What the function's logger wrote in this call. Lines that do not fit cost the answer nothing. */
  lines: loggedLinesSchema.optional().catch(undefined),
});
export type PushAnswer = z.infer<typeof pushAnswerSchema>;

/**
 * Frames are JSON arrays of messages: what accumulates within one turn of the event loop goes out as one. `hello` and
 * `welcome` version the connection: its messages are of that version, and the side that does not speak it ends the
 * connection. An invocation has a version of its own. In every one, `type`, `writer`, `invocation.v` and `invocation.run.id`
 * of an activation stay what they are here, so that a worker can decline what it does not understand; nobody else may
 * be lost for it. A type of message that is not known is passed over.
 */
const lease = z.object({ runId: uuidSchema, writer: writerSchema });

export const workerMessageSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    v: z.number().int(),
    sdk: z.string(),
    appId: z.string(),
    /** Activations it takes at once. */
    slots: z.number().int().min(1).max(10_000),
    /** Of its code: it is given the runs that are pinned to it. */
    buildId: buildIdSchema.optional(),
    /** Whether runs of which it is the first to record a step are pinned to its build. */
    pinRuns: z.boolean().optional(),
  }),
  /** Steps that ended (or began to wait); answered by `recorded` with the same `sequence` once they are durable. */
  z.object({
    type: z.literal('record'),
    ...lease.shape,
    sequence: z.number().int().nonnegative(),
    records: z.array(stepRecordSchema).min(1),
  }),
  /** What the function's logger wrote, sent before the records and the end that come after it. Nobody answers it. */
  z.object({ type: z.literal('log'), ...lease.shape, lines: loggedLinesSchema.min(1) }),
  /** The activation is over; it may carry last records. Its slot is free again. */
  z.object({
    type: z.literal('end'),
    ...lease.shape,
    records: z.array(stepRecordSchema),
    outcome: outcomeSchema,
  }),
  /** The answer to `abort`: no step of that lease is at work any more. */
  z.object({ type: z.literal('aborted'), ...lease.shape }),
  /** The worker drains: it finishes what it has and takes nothing new. */
  z.object({ type: z.literal('drain') }),
]);
export type WorkerMessage = z.infer<typeof workerMessageSchema>;

export const executorMessageSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('welcome'),
    v: z.number().int(),
    executor: z.string(),
    /** Its build, where the executor knows of builds. */
    buildId: z.string().optional(),
  }),
  z.object({ type: z.literal('activate'), writer: writerSchema, invocation: invocationSchema }),
  z.object({ type: z.literal('recorded'), ...lease.shape, sequence: z.number().int().nonnegative() }),
  /** The lease is over for this worker: abort the function, send nothing more of it but `aborted`. */
  z.object({ type: z.literal('abort'), ...lease.shape, reason: z.string() }),
  /** The answer to `drain`: nothing more is activated on this connection. */
  z.object({ type: z.literal('drained') }),
  /** The connection is refused; it is closed after this. */
  z.object({ type: z.literal('refused'), code: z.string(), message: z.string() }),
]);
export type ExecutorMessage = z.infer<typeof executorMessageSchema>;

/** Names of the headers of a signed call (Standard Webhooks, standardwebhooks.com). */
export const signatureHeaders = {
  id: 'webhook-id',
  timestamp: 'webhook-timestamp',
  signature: 'webhook-signature',
} as const;

/** How far a signature's timestamp may be off. */
export const signatureToleranceSeconds = 300;

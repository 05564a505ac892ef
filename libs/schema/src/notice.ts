/** Notices say what Postgres has accepted; nobody acts on an entry before. At most once: whoever needs one also sweeps. */
import { z } from 'zod';
import { failureSchema } from './failure.js';
import { scopeSchema, uuidSchema } from './identifiers.js';
import { runStatusSchema } from './run.js';
import { stepStatuses } from './step.js';
import { circuitChanges } from './subjects.js';

export const runNoticeSchema = z.object({
  scope: scopeSchema,
  runId: uuidSchema,
  eventId: uuidSchema,
  functionId: z.string(),
  appId: z.string(),
  mode: z.enum(['push', 'pull']),
  /** Of the lane on which it is activated now. */
  buildId: z.string().optional(),
  status: runStatusSchema,
  journalSeq: z.number(),
  wake: z.number(),
  served: z.number(),
  /** Accepted with this notice; none when a notice is sent again. */
  steps: z.array(z.object({ id: z.string(), attempt: z.number(), status: z.enum(stepStatuses) })),
  /** Flow control decides when it goes on. */
  limited: z.boolean().optional(),
  /** It is activated on the lane of its environment. */
  bulk: z.boolean().optional(),
  /** The event that tells of its failure, stored with it and still to be routed. */
  failureEventId: uuidSchema.optional(),
  /** How long from acceptance until the earliest timer that came with it. */
  nextDueInMs: z.number().optional(),
  /** JSON text; absent when there is none or `outputOmitted`. */
  output: z.string().optional(),
  /** It is larger than a notice carries: read it from the run. */
  outputOmitted: z.boolean().optional(),
  error: failureSchema.optional(),
});
export type RunNotice = z.infer<typeof runNoticeSchema>;

/** A run was asked to stop: for the executor that drives it, and the scheduler, should nobody. */
export const stopNoticeSchema = runNoticeSchema.pick({
  scope: true,
  runId: true,
  eventId: true,
  functionId: true,
  appId: true,
  buildId: true,
  mode: true,
  bulk: true,
});
export type StopNotice = z.infer<typeof stopNoticeSchema>;

/** Keys of an environment were made, replaced or revoked, or it was archived or restored: what is known of them is to be read again. */
export const accessNoticeSchema = z.object({ environmentId: uuidSchema });
export type AccessNotice = z.infer<typeof accessNoticeSchema>;

/** Of an environment's lane for push runs of a flood. */
export const bulkNoticeSchema = z.object({ scope: scopeSchema });
export type BulkNotice = z.infer<typeof bulkNoticeSchema>;

/** Quotas of an environment were set. */
export const quotasNoticeSchema = z.object({ scope: scopeSchema });
export type QuotasNotice = z.infer<typeof quotasNoticeSchema>;

/** What waits of a run wait for may be there: a wait was accepted, a signal sent, an awaited run has ended. */
export const waitsNoticeSchema = z.object({ scope: scopeSchema, runId: uuidSchema });
export type WaitsNotice = z.infer<typeof waitsNoticeSchema>;

/** Slots of flow control that runs gave back: others may go on. */
export const slotsNoticeSchema = z.object({ scope: scopeSchema, slots: z.array(z.string()) });
export type SlotsNotice = z.infer<typeof slotsNoticeSchema>;

/** Every disposition of an event that somebody waits for: its runs, skipped ones among them. */
export const eventRoutedNoticeSchema = z.object({
  scope: scopeSchema,
  eventId: uuidSchema,
  runs: z.array(z.object({ id: uuidSchema, functionId: z.string(), status: runStatusSchema })),
});
export type EventRoutedNotice = z.infer<typeof eventRoutedNoticeSchema>;

/** Events were accepted that are due later, this one the first of them. */
export const eventScheduledNoticeSchema = z.object({
  scope: scopeSchema,
  eventId: uuidSchema,
  dueInMs: z.number(),
});
export type EventScheduledNotice = z.infer<typeof eventScheduledNoticeSchema>;

/** A config document has changed, or is no more; to what says Postgres. */
export const configNoticeSchema = z.object({ scope: scopeSchema, name: z.string() });
export type ConfigNotice = z.infer<typeof configNoticeSchema>;

/** A breaker was written anew: of whom it is and how, not at which address. */
export const circuitNoticeSchema = z.object({
  scope: scopeSchema,
  functionId: z.string(),
  circuitId: z.string(),
  change: z.enum(circuitChanges),
  atMs: z.number(),
});
export type CircuitNotice = z.infer<typeof circuitNoticeSchema>;

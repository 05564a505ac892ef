/** An event: as a client emits it, as it travels, and as it is stored. */
import { z } from 'zod';
import {
  emittedEventNameSchema,
  eventNameSchema,
  functionIdSchema,
  scopeSchema,
  uuidSchema,
} from './identifiers.js';
import { limits } from './limits.js';
import { stepIdSchema } from './step.js';
import { utf8Text } from './utf8-text.js';

/** Its size is checked on its text, once, by whoever parsed it. */
export const eventDataSchema = z
  .unknown()
  .describe('any JSON; numbers are IEEE 754 doubles, so send integers beyond 2^53 as strings');

/** Goes into a message header. */
const correlationIdSchema = z.string().min(1).max(128);

export const emittedEventSchema = z.strictObject({
  name: emittedEventNameSchema,
  data: eventDataSchema.optional(),
  idempotencyKey: utf8Text(limits.idempotencyKeyBytesMax)
    .min(1)
    .optional()
    .describe(
      'the same key within 24 hours answers the first event’s id and stores nothing; ' +
        'for an event of another name, or an invocation of another function, it is refused',
    ),
  /** The version of the event's own schema. */
  version: z.string().max(64).optional(),
  /** Ties events and runs together; by default the root event's id. */
  correlationId: correlationIdSchema.optional(),
  causationId: correlationIdSchema.optional().describe('what led to it, such as the id of another event'),
  at: z.iso
    .datetime({ offset: true })
    .optional()
    .describe('when it is delivered, at most a year ahead; at once when that has passed'),
});
export type EmittedEvent = z.infer<typeof emittedEventSchema>;

export const eventSources = [
  'http',
  'invoke',
  'cron',
  'nats',
  'rerun',
  'replay',
  'system',
  'webhook',
] as const;
export type EventSource = (typeof eventSources)[number];

/** A stored event on its way to the scheduler. `data` is JSON text, never parsed on the way. */
export const storedEventSchema = z.object({
  id: uuidSchema,
  scope: scopeSchema,
  name: eventNameSchema,
  data: z.string(),
  version: z.string().optional(),
  source: z.enum(eventSources),
  receivedAtMs: z.number().int().nonnegative(),
  correlationId: z.string(),
  causationId: z.string().optional(),
  traceparent: z.string().optional(),
  /** Somebody waits for the runs it starts: say which they are. */
  awaited: z.boolean().optional(),
  /** It starts this function alone, whatever the triggers say. */
  functionId: functionIdSchema.optional(),
  /** The run that its run repeats. */
  rerunOf: uuidSchema.optional(),
  /** What settled in that run before this step is not run again. */
  rerunFromStep: stepIdSchema.optional(),
});
export type StoredEvent = z.infer<typeof storedEventSchema>;

/** An event that is not in Postgres yet. Its id is its maker's, so that making it twice stores it once. */
export const ingestMessageSchema = z.object({
  id: uuidSchema,
  environmentId: uuidSchema,
  name: eventNameSchema,
  data: z.string(),
  source: z.enum(eventSources),
  correlationId: correlationIdSchema.optional(),
  causationId: correlationIdSchema.optional(),
  traceparent: z.string().optional(),
});
export type IngestMessage = z.infer<typeof ingestMessageSchema>;

/** Names of the platform's own events; no pattern of a tenant matches them, and nobody else can emit them. */
export const systemEventNames = {
  cron: (functionId: string) => `ironflow.cron.${functionId}`,
  invoke: (functionId: string) => `ironflow.invoke.${functionId}`,
  /** A run has failed for good; the one of them that functions of a tenant may be triggered by. */
  functionFailed: 'ironflow.function.failed',
} as const;

/** The event as the tenant's function and its CEL expressions see it. */
export interface FunctionEvent {
  id: string;
  name: string;
  data: unknown;
  version?: string;
  /** ISO 8601. */
  receivedAt: string;
  correlationId: string;
}

/** What could not be processed, why, and everything needed to try it again. */
import { z } from 'zod';
import { uuidSchema } from './identifiers.js';

export const deadLetterReasons = ['unreadable', 'without_run', 'refused_by_database'] as const;

export const deadLetterSchema = z.object({
  id: uuidSchema,
  environmentId: uuidSchema.optional(),
  subject: z.string(),
  reason: z.enum(deadLetterReasons),
  detail: z.string(),
  /** The original message, base64. */
  payload: z.string(),
  occurredAtMs: z.number(),
});
export type DeadLetter = z.infer<typeof deadLetterSchema>;

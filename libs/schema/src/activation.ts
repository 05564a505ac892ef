/** An activation (a STEPS message): drive this run as far as it goes. */
import { z } from 'zod';
import { scopeSchema, uuidSchema } from './identifiers.js';
import { storedEventSchema } from './event.js';

export const activationSchema = z.object({
  runId: uuidSchema,
  scope: scopeSchema,
  /** Present when it is small; else the executor reads it with the run. */
  event: storedEventSchema.omit({ scope: true, awaited: true }).optional(),
});
export type Activation = z.infer<typeof activationSchema>;

/** An activation (a STEPS message): drive this run as far as it goes. What it needs is read from Postgres. */
import { z } from 'zod';
import { scopeSchema, uuidSchema } from './identifiers.js';

export const activationSchema = z.object({
  runId: uuidSchema,
  scope: scopeSchema,
});
export type Activation = z.infer<typeof activationSchema>;

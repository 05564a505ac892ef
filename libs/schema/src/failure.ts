/** An error as it is recorded: what a user sees on a step or run. */
import { z } from 'zod';
import { limits } from './limits.js';

export const failureSchema = z.object({
  /** The error's class, such as `TypeError`, or a code of the platform, such as `worker_lost`. */
  name: z.string().max(256),
  message: z.string().max(limits.errorMessageBytesMax),
  stack: z.string().max(limits.errorMessageBytesMax).optional(),
});
export type Failure = z.infer<typeof failureSchema>;

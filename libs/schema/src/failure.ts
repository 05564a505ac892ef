/** An error as it is recorded: what a user sees on a step or run. */
import { z } from 'zod';
import { limits } from './limits.js';
import { utf8Text } from './utf8-text.js';

export const failureSchema = z.object({
  /** The error's class, such as `TypeError`, or a code of the platform, such as `worker_lost`. */
  name: z.string().max(256),
  message: utf8Text(limits.errorMessageBytesMax),
  stack: utf8Text(limits.errorMessageBytesMax).optional(),
});
export type Failure = z.infer<typeof failureSchema>;

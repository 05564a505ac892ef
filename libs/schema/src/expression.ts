/** A CEL expression of a tenant's, as text. What may be one is in libs/condition. */
import { z } from 'zod';
import { limits } from './limits.js';

export const expressionSchema = z
  .string()
  .min(1)
  .refine(
    (text) => Buffer.byteLength(text) <= limits.expressionBytesMax,
    `must be at most ${limits.expressionBytesMax} bytes`,
  );

/** For how long an environment keeps its events, and its runs once they have ended: what the HTTP API says and takes of it. */
import { z } from 'zod';

export const retentionDays = {
  /** An idempotency key is good for a day, and says which event it was used for. */
  min: 2,
  max: 36_500,
} as const;

export const setRetentionBodySchema = z.strictObject({
  days: z
    .number()
    .int()
    .min(retentionDays.min)
    .max(retentionDays.max)
    .nullable()
    .describe(
      'after which events, and runs that ended that long ago, are removed; null: as the installation does',
    ),
});
export type SetRetentionBody = z.infer<typeof setRetentionBodySchema>;

export const retentionSchema = z.object({
  days: z
    .number()
    .int()
    .nullable()
    .describe('null: as the installation does, which is for ever unless its operators have set a time'),
});
export type RetentionResource = z.infer<typeof retentionSchema>;

/** Config documents: JSON by name, as the HTTP API takes and answers it. */
import { z } from 'zod';

const timestamp = z.iso.datetime();
const json = z.unknown().describe('any JSON');

export const configNameSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
    'must be 1 to 128 of A-Z, a-z, 0-9, ".", "_" and "-", beginning with a letter or digit',
  );

/** Of a document as it has to be now. */
const expectedRevision = z
  .number()
  .int()
  .min(0)
  .max(Number.MAX_SAFE_INTEGER)
  .describe(
    'that it has now, or 0 if there is to be none yet; anything else is refused, and nothing changed',
  );

export const putConfigBodySchema = z.strictObject({
  data: json.refine((data) => data !== undefined, 'is required'),
  revision: expectedRevision.optional(),
});
export type PutConfigBody = z.infer<typeof putConfigBodySchema>;

export const deleteConfigQuerySchema = z.strictObject({
  revision: z.coerce.number().pipe(expectedRevision.min(1)).optional(),
});

export const configSummarySchema = z.object({
  name: configNameSchema,
  revision: z.number().int().describe('higher with each change'),
  updatedAt: timestamp,
});
export type ConfigSummary = z.infer<typeof configSummarySchema>;
export const configDocumentSchema = configSummarySchema.extend({ data: json });
export type ConfigDocument = z.infer<typeof configDocumentSchema>;
export const configListSchema = z.object({ documents: z.array(configSummarySchema) });
export const deletedConfigSchema = z.object({ name: configNameSchema });
export type DeletedConfig = z.infer<typeof deletedConfigSchema>;

/** What a watcher is sent: first as it is, then after each change. */
export const configUpdateSchema = configSummarySchema.extend({
  data: json.optional(),
  deleted: z.literal(true).optional().describe('there is none any more; it may be made again'),
});
export type ConfigUpdate = z.infer<typeof configUpdateSchema>;

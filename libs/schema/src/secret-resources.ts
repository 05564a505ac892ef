/** What the HTTP API takes and answers of secrets. A value is in no answer but that to who asks for values. */
import { z } from 'zod';
import { limits } from './limits.js';
import { utf8Text } from './utf8-text.js';

const timestamp = z.iso.datetime();

/** As of variables of an environment, so that a file of those can be imported. */
export const secretNameSchema = z
  .string()
  .regex(/^[A-Z][A-Z0-9_]{0,99}$/, 'must be 1 to 100 of A-Z, 0-9 and "_", beginning with a letter');

export const setSecretBodySchema = z.strictObject({
  value: utf8Text(limits.secretValueBytesMax).min(1, 'must not be empty'),
});
export type SetSecretBody = z.infer<typeof setSecretBodySchema>;

export const secretSchema = z.object({
  name: secretNameSchema,
  version: z.number().int().describe('the one that is read'),
  updatedAt: timestamp.describe('when that version was set'),
  versions: z
    .array(z.object({ version: z.number().int(), createdAt: timestamp }))
    .describe(`those that are kept, the newest first, at most ${limits.secretVersionsKept}`),
});
export type Secret = z.infer<typeof secretSchema>;

export const secretsListSchema = z.object({ secrets: z.array(secretSchema) });
export const deletedSecretSchema = z.object({ name: secretNameSchema });
export type DeletedSecret = z.infer<typeof deletedSecretSchema>;

export const secretValuesBodySchema = z.strictObject({
  names: z.array(secretNameSchema).min(1).max(limits.secretsPerRequestMax),
});
export type SecretValuesBody = z.infer<typeof secretValuesBodySchema>;

export const secretValuesSchema = z.object({
  secrets: z
    .array(z.object({ name: secretNameSchema, version: z.number().int(), value: z.string() }))
    .describe('those of the names that there are'),
});
export type SecretValues = z.infer<typeof secretValuesSchema>;

export const rotatedDataKeySchema = z.object({
  version: z.number().int().describe('of the new data key'),
  resealed: z.number().int().describe('secrets of every kind that are sealed with it now'),
});
export type RotatedDataKey = z.infer<typeof rotatedDataKeySchema>;

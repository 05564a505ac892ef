/** What the HTTP API answers and takes of API keys, signing keys and keys of operators. */
import { z } from 'zod';
import { uuidSchema } from './identifiers.js';
import { keyRoles, keyScopeSchema } from './key-access.js';
import { limits } from './limits.js';

const timestamp = z.iso.datetime();

export const keyStatuses = ['live', 'expired', 'revoked'] as const;

const keyNameSchema = z
  .string()
  .trim()
  .min(1)
  .max(limits.keyNameLengthMax)
  .regex(/^\P{Cc}*$/u, 'has no control characters')
  .describe('what it is for');

const expiresAtSchema = timestamp.optional().describe('in the future; without, it does not expire');

const overlapSecondsSchema = z
  .number()
  .int()
  .min(0)
  .max(limits.keyOverlapSecondsMax)
  .default(86_400)
  .describe('how long those before are good as well, at most; with 0 they are good no more');

export const createKeyBodySchema = z.strictObject({
  name: keyNameSchema,
  role: z.enum(keyRoles),
  scopes: z
    .array(keyScopeSchema)
    .max(keyScopeSchema.options.length)
    .transform((scopes) => [...new Set(scopes)].sort())
    .default([])
    .describe('what it is narrowed to; without any it may do all that its role allows'),
  expiresAt: expiresAtSchema,
});
export type CreateKeyBody = z.infer<typeof createKeyBodySchema>;
/** As it is sent: what has a default may be left out. */
export type NewKey = z.input<typeof createKeyBodySchema>;

export const rotateKeyBodySchema = z.strictObject({
  overlapSeconds: overlapSecondsSchema,
  expiresAt: timestamp.optional().describe('of the new key; by default that of the one it replaces'),
});
export type RotateKeyBody = z.infer<typeof rotateKeyBodySchema>;

export const apiKeySchema = z.object({
  id: uuidSchema,
  name: z.string(),
  role: z.enum(keyRoles),
  scopes: z.array(z.string()).describe('what it is narrowed to; empty: all that its role allows'),
  status: z.enum(keyStatuses),
  createdAt: timestamp,
  expiresAt: timestamp
    .optional()
    .describe('of one that was replaced: the end of its overlap, if that is earlier'),
  replaced: z.boolean().describe('there is another in its place'),
  revokedAt: timestamp.optional(),
  lastUsedAt: timestamp.optional().describe('to the minute'),
});
export type ApiKey = z.infer<typeof apiKeySchema>;

export const createdKeySchema = apiKeySchema.extend({ key: z.string().describe('not shown again') });
export type CreatedKey = z.infer<typeof createdKeySchema>;

export const keysListSchema = z.object({
  keys: z.array(apiKeySchema).describe('the newest first; those that have ended within 30 days among them'),
});

export const signingKeySchema = z.object({
  version: z.number().int(),
  createdAt: timestamp,
  expiresAt: timestamp.optional().describe('the end of its overlap, after it was replaced'),
});
export type SigningKeyResource = z.infer<typeof signingKeySchema>;

export const signingKeysListSchema = z.object({
  signingKeys: z.array(signingKeySchema).describe('those that calls are signed with, the newest first'),
});

export const rotateSigningKeyBodySchema = z.strictObject({ overlapSeconds: overlapSecondsSchema });
export type RotateSigningKeyBody = z.infer<typeof rotateSigningKeyBodySchema>;

export const createdSigningKeySchema = signingKeySchema.extend({
  signingKey: z.string().describe('not shown again'),
});
export type CreatedSigningKey = z.infer<typeof createdSigningKeySchema>;

export const createOperatorKeyBodySchema = z.strictObject({
  name: keyNameSchema,
  expiresAt: expiresAtSchema,
});
export type CreateOperatorKeyBody = z.infer<typeof createOperatorKeyBodySchema>;

export const operatorKeySchema = apiKeySchema
  .pick({
    id: true,
    name: true,
    status: true,
    createdAt: true,
    revokedAt: true,
  })
  .extend({ expiresAt: timestamp.optional() });
export type OperatorKey = z.infer<typeof operatorKeySchema>;

export const createdOperatorKeySchema = operatorKeySchema.extend({
  key: z.string().describe('not shown again'),
});
export type CreatedOperatorKey = z.infer<typeof createdOperatorKeySchema>;

export const operatorKeysListSchema = z.object({
  operatorKeys: z
    .array(operatorKeySchema)
    .describe('the newest first; the one of the configuration is not among them'),
});

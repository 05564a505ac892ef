/** What the HTTP API answers and takes of credentials for NATS. */
import { z } from 'zod';
import { uuidSchema } from './identifiers.js';
import { limits } from './limits.js';

const timestamp = z.iso.datetime();

export const createCredentialBodySchema = z.strictObject({
  name: z
    .string()
    .regex(/^[\x20-\x7e]+$/, 'must be printable ASCII')
    .max(limits.credentialNameLengthMax)
    .describe('for people, and for the monitoring of the servers'),
  expiresInSeconds: z
    .number()
    .int()
    .min(60)
    .max(limits.credentialSecondsMax)
    .default(90 * 86_400)
    .describe('servers close its connections then'),
});
export type CreateCredentialBody = z.infer<typeof createCredentialBodySchema>;

export const credentialStatuses = ['active', 'expired', 'revoked'] as const;

export const credentialSchema = z.object({
  id: uuidSchema,
  name: z.string(),
  publicKey: z.string().describe('of the user at the servers'),
  status: z.enum(credentialStatuses),
  createdAt: timestamp,
  expiresAt: timestamp,
  revokedAt: timestamp.optional(),
});
export type Credential = z.infer<typeof credentialSchema>;

export const createdCredentialSchema = credentialSchema.extend({
  credentials: z.string().describe('the creds file for a NATS client; not shown again'),
  subject: z.string().describe('below this it may publish'),
});
export type CreatedCredential = z.infer<typeof createdCredentialSchema>;

export const credentialsListSchema = z.object({ credentials: z.array(credentialSchema) });

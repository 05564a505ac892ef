/** What the HTTP API answers and takes of tenants: projects and environments, as operators see them. */
import { z } from 'zod';
import { slugSchema } from './identifiers.js';
import { limits } from './limits.js';
import { pageQuery } from './resources.js';

const timestamp = z.iso.datetime();

export const tenantStates = ['active', 'archived', 'deleting', 'erased'] as const;
export type TenantState = (typeof tenantStates)[number];

export const tenantSchema = z.object({
  organization: slugSchema,
  project: slugSchema,
  env: slugSchema,
  state: z
    .enum(tenantStates)
    .describe('`deleting`: archived, and erased after `eraseAfter`; `erased`: nothing is left but its name'),
  createdAt: timestamp,
  archivedAt: timestamp.optional(),
  eraseAfter: timestamp.optional().describe('until then it can be restored'),
  erasedAt: timestamp.optional(),
});
export type Tenant = z.infer<typeof tenantSchema>;

export const createTenantBodySchema = z.strictObject({
  organization: slugSchema
    .optional()
    .describe('by default the one that the project belongs to; of a new project: one of the same name'),
  project: slugSchema.describe('unique in the installation'),
  environments: z
    .array(slugSchema)
    .min(1)
    .max(limits.environmentsPerRequestMax)
    .refine((names) => new Set(names).size === names.length, 'names none twice')
    .default(['prod', 'staging']),
  newKeys: z
    .boolean()
    .default(false)
    .describe(
      'environments that are there already get another API key, which is answered; those before stay',
    ),
});
export type CreateTenantBody = z.infer<typeof createTenantBodySchema>;
/** As it is sent: what has a default may be left out. */
export type NewTenant = z.input<typeof createTenantBodySchema>;

export const tenantCredentialsSchema = z.object({
  env: slugSchema,
  state: z.enum(tenantStates),
  created: z.boolean().describe('it was not there before'),
  apiKey: z.string().optional().describe('of role admin, if one was made; not shown again'),
  signingKey: z.string().optional().describe('the newest, beside an API key that was made'),
});

export const createdTenantSchema = z.object({
  organization: slugSchema,
  project: slugSchema,
  environments: z.array(tenantCredentialsSchema).describe('in the order asked for'),
});
export type CreatedTenant = z.infer<typeof createdTenantSchema>;

export const tenantsQuerySchema = z.strictObject({
  limit: pageQuery.limit,
  cursor: pageQuery.cursor,
  state: z.enum(tenantStates).optional().describe('by default all but those that were erased'),
});
export type TenantsQuery = z.infer<typeof tenantsQuerySchema>;

export const tenantsPageSchema = z.object({
  tenants: z.array(tenantSchema).describe('one for each environment, the newest first'),
  nextCursor: z.string().optional(),
});
export type TenantsPage = z.infer<typeof tenantsPageSchema>;

export const projectSchema = z.object({
  organization: slugSchema,
  project: slugSchema,
  createdAt: timestamp,
  environments: z.array(tenantSchema),
});
export type ProjectResource = z.infer<typeof projectSchema>;

export const deleteTenantQuerySchema = z.strictObject({
  graceDays: z.coerce
    .number()
    .int()
    .min(0)
    .max(limits.graceDaysMax)
    .default(30)
    .describe('for how long it can be restored; with 0 an hour'),
});
export type DeleteTenantQuery = z.infer<typeof deleteTenantQuerySchema>;

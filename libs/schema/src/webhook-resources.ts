/** What the HTTP API answers and takes of webhooks. */
import { z } from 'zod';
import { uuidSchema } from './identifiers.js';
import { limits } from './limits.js';
import { pageQuery } from './resources.js';
import {
  deliveryStatuses,
  eventPrefixOf,
  webhookEventPrefixSchema,
  webhookHeaderSchema,
  webhookIdSchema,
  webhookProviderIds,
  webhookRefusals,
  webhookSchemeSchema,
  webhookSecretSchema,
  webhookStatuses,
} from './webhook.js';

const timestamp = z.iso.datetime();

const headersSchema = z
  .array(webhookHeaderSchema)
  .max(limits.webhookHeadersMax)
  .describe(
    'with these the event’s data is `{ body, headers }` instead of the body; not all providers sign them',
  );

export const createWebhookBodySchema = z
  .strictObject({
    id: webhookIdSchema,
    provider: z.enum(webhookProviderIds),
    scheme: webhookSchemeSchema.optional().describe('how a `custom` provider signs; the others’ is known'),
    eventPrefix: webhookEventPrefixSchema
      .optional()
      .describe('what names of events begin with; by default the provider’s name, or the source’s id'),
    headers: headersSchema.default([]),
    secret: webhookSecretSchema
      .optional()
      .describe('the provider’s, if it has made one; by default one is made and answered, once'),
  })
  .superRefine((source, context) => {
    const isCustom = source.provider === 'custom';
    if (isCustom !== (source.scheme !== undefined)) {
      const message = isCustom ? 'is required for a custom provider' : 'is only for a custom provider';
      context.addIssue({ code: 'custom', path: ['scheme'], message });
    }
    if (!webhookEventPrefixSchema.safeParse(eventPrefixOf(source)).success) {
      const message = 'is required, since the id is reserved for the platform';
      context.addIssue({ code: 'custom', path: ['eventPrefix'], message });
    }
  });
export type CreateWebhookBody = z.infer<typeof createWebhookBodySchema>;
/** As it is sent: what has a default may be left out. */
export type NewWebhook = z.input<typeof createWebhookBodySchema>;

export const webhookSchema = z.object({
  id: webhookIdSchema,
  provider: z.enum(webhookProviderIds),
  path: z.string().describe('below the platform’s URL: where the provider is to send'),
  scheme: webhookSchemeSchema,
  eventPrefix: z.string(),
  headers: headersSchema,
  status: z.enum(webhookStatuses),
  secrets: z
    .array(
      z.object({
        createdAt: timestamp,
        expiresAt: timestamp.optional().describe('the end of its grace, after it was replaced'),
      }),
    )
    .describe('those that signatures are checked with, the newest first; what they are is not shown'),
  refused: z.number().int().describe('deliveries that were refused since it was created'),
  refusedUnlogged: z
    .number()
    .int()
    .describe(
      `of these, the ones that are not in the log: it takes ${limits.webhookRefusalsPerMinuteMax} a minute`,
    ),
  createdAt: timestamp,
});
export type Webhook = z.infer<typeof webhookSchema>;

export const webhookWithSecretSchema = webhookSchema.extend({
  secret: z.string().optional().describe('if the platform has made it; not shown again'),
});
export type WebhookWithSecret = z.infer<typeof webhookWithSecretSchema>;

export const webhooksListSchema = z.object({ webhooks: z.array(webhookSchema) });

export const rotateWebhookBodySchema = z.strictObject({
  secret: webhookSecretSchema.optional().describe('by default one is made and answered, once'),
  graceSeconds: z
    .number()
    .int()
    .min(0)
    .max(limits.webhookGraceSecondsMax)
    .default(86_400)
    .describe('how long those before are good as well, at most; with 0 they are good no more'),
});
export type RotateWebhookBody = z.infer<typeof rotateWebhookBodySchema>;

export const deletedWebhookSchema = z.object({ id: webhookIdSchema });
export type DeletedWebhook = z.infer<typeof deletedWebhookSchema>;

export const deliverySchema = z.object({
  id: uuidSchema,
  status: z.enum(deliveryStatuses),
  reason: z.enum(webhookRefusals).optional().describe('why it was refused'),
  deliveryId: z.string().optional().describe('the provider’s; of a refused one as it was claimed'),
  eventId: uuidSchema.optional().describe('of its event; of a duplicate that of the first'),
  eventName: z.string().optional(),
  receivedAt: timestamp,
});
export type Delivery = z.infer<typeof deliverySchema>;

export const deliveriesQuerySchema = z.strictObject({
  ...pageQuery,
  status: z.enum(deliveryStatuses).optional(),
});
export type DeliveriesQuery = z.infer<typeof deliveriesQuerySchema>;

export const deliveriesPageSchema = z.object({
  deliveries: z.array(deliverySchema),
  nextCursor: z.string().optional(),
});
export type DeliveriesPage = z.infer<typeof deliveriesPageSchema>;

export const receivedAnswerSchema = z.object({
  id: uuidSchema.describe('of the event'),
  duplicate: z.boolean().describe('the delivery was taken before: this is the event of then'),
});
export type ReceivedAnswer = z.infer<typeof receivedAnswerSchema>;

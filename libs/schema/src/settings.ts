/** What `ironflow.yaml` says: settings of an environment as they are to be. A section that is missing says nothing. */
import { z } from 'zod';
import { configNameSchema } from './config-resources.js';
import { functionIdSchema } from './identifiers.js';
import { kvBucketNameSchema, putKvBucketBodySchema } from './kv-resources.js';
import { setFunctionLimitsBodySchema } from './resources.js';
import { setQuotasBodySchema } from './quotas.js';
import { setRetentionBodySchema } from './retention.js';
import { scheduleIdSchema } from './schedule.js';
import { secretNameSchema } from './secret-resources.js';
import { createWebhookBodySchema } from './webhook-resources.js';
import { eventPrefixOf, webhookIdSchema } from './webhook.js';

const pauseSchema = z.strictObject({ paused: z.boolean() });
/** What is not named stays as it is. */
const functionSettingsSchema = z.strictObject({
  paused: z.boolean().optional(),
  concurrency: setFunctionLimitsBodySchema.shape.concurrency.optional(),
});
export type FunctionSettings = z.infer<typeof functionSettingsSchema>;

const { provider, scheme, eventPrefix, headers } = createWebhookBodySchema.shape;
const webhookSettingsSchema = z.strictObject({
  ...{ provider, scheme, eventPrefix, headers },
  paused: z.boolean().default(false),
});
export type WebhookSettings = z.infer<typeof webhookSettingsSchema>;

export const settingsSchema = z
  .strictObject({
    version: z.literal(1),
    /** JSON by the name of its document. */
    config: z.record(configNameSchema, z.json()),
    /** Buckets, not what is in them. */
    kv: z.record(kvBucketNameSchema, putKvBucketBodySchema),
    /** Without their secrets. */
    webhooks: z.record(webhookIdSchema, webhookSettingsSchema),
    functions: z.record(functionIdSchema, functionSettingsSchema),
    schedules: z.record(scheduleIdSchema, pauseSchema),
    /** Names of those that have to be there. */
    secrets: z.array(secretNameSchema),
    quotas: setQuotasBodySchema,
    retention: setRetentionBodySchema.partial(),
  })
  .partial()
  .required({ version: true })
  .superRefine(({ webhooks = {} }, context) => {
    for (const [id, { paused: _, ...webhook }] of Object.entries(webhooks)) {
      const found = createWebhookBodySchema.safeParse({ id, ...webhook });
      for (const issue of found.error?.issues ?? []) {
        const path = ['webhooks', id, ...issue.path];
        context.addIssue({ code: 'custom', path, message: issue.message });
      }
    }
  })
  .transform(({ webhooks, ...settings }) => ({
    ...settings,
    ...(webhooks === undefined ? {} : { webhooks: withPrefixes(webhooks) }),
  }));
export type Settings = z.infer<typeof settingsSchema>;

/** As the API answers them. */
function withPrefixes(webhooks: Record<string, WebhookSettings>): Record<string, WebhookSettings> {
  const entries = Object.entries(webhooks);
  return Object.fromEntries(
    entries.map(([id, webhook]) => [id, { ...webhook, eventPrefix: eventPrefixOf({ id, ...webhook }) }]),
  );
}

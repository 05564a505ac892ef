/** What an environment may use: the quotas, the platform's defaults, and what the HTTP API says and takes of them. */
import { z } from 'zod';
import { limits } from './limits.js';

/** Wide: for what is sent by accident, not for what is paid for. */
export const defaultQuotas = {
  /** Up to so many times ten at once, after a pause. */
  eventsPerSecond: 20_000,
  /** The same; of each of the services that answer requests. */
  requestsPerSecond: 10_000,
  payloadBytes: limits.eventDataBytesMax,
  queuedRuns: 1_000_000,
  storageBytes: 100 * 1024 ** 3,
  /** As good as none: runs of an environment that has no quota of its own are not counted. */
  concurrency: 1_000_000,
} as const;

export type QuotaName = keyof typeof defaultQuotas;
export type Quotas = Record<QuotaName, number>;
export const quotaNames = Object.keys(defaultQuotas) as QuotaName[];

/** So many seconds of a rate may come at once. */
export const quotaBurstSeconds = 10;

const quota = (description: string, most: number) =>
  z.number().int().min(1).max(most).nullable().optional().describe(`${description}; null: the default`);

export const setQuotasBodySchema = z.strictObject({
  eventsPerSecond: quota(
    `events that are emitted, invoked or come by webhooks; ${quotaBurstSeconds} seconds of them at once`,
    1_000_000,
  ),
  requestsPerSecond: quota(`requests with a key; ${quotaBurstSeconds} seconds of them at once`, 1_000_000),
  payloadBytes: quota('data of one event', limits.eventDataBytesMax),
  queuedRuns: quota('runs that have not begun: no events are taken while there are so many', 100_000_000),
  storageBytes: quota(
    'of stored payloads, about: no events are taken while there are so many',
    Number.MAX_SAFE_INTEGER,
  ),
  concurrency: quota(
    'activations at once, of all functions together: further runs wait their turn',
    1_000_000,
  ),
});
export type SetQuotasBody = z.infer<typeof setQuotasBodySchema>;

const quotaSchema = z.object({
  limit: z.number().int(),
  isDefault: z.boolean(),
  used: z.number().optional().describe('where it is known: of a rate on average over the last ten seconds'),
});

export const quotasSchema = z.object({
  eventsPerSecond: quotaSchema,
  requestsPerSecond: quotaSchema,
  payloadBytes: quotaSchema,
  queuedRuns: quotaSchema,
  storageBytes: quotaSchema,
  concurrency: quotaSchema,
});
export type QuotasResource = z.infer<typeof quotasSchema>;

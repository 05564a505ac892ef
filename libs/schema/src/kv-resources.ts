/** Key-value buckets of tenants, as the HTTP API takes and answers them. */
import { z } from 'zod';
import { limits } from './limits.js';

const timestamp = z.iso.datetime();
const json = z.unknown().describe('any JSON');

export const kvBucketNameSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/,
    'must be 1 to 64 of A-Z, a-z, 0-9, "_" and "-", beginning with a letter or digit',
  );

const token = '[A-Za-z0-9_=-]+';
const keyRule = 'must be dot-separated tokens of A-Z, a-z, 0-9, "_", "=" and "-", at most 128 in all';
export const kvKeySchema = z
  .string()
  .max(128, keyRule)
  .regex(new RegExp(`^${token}(\\.${token})*$`), keyRule);
export const kvPatternSchema = z
  .string()
  .max(128)
  .regex(
    new RegExp(`^((${token}|\\*)\\.)*(${token}|\\*|>)$`),
    'must be a key in which a token may be "*", or the last one ">" for the rest',
  );

const ttlSeconds = z.number().int().min(1).max(limits.kvTtlSecondsMax);

export const putKvBucketBodySchema = z.strictObject({
  ttlSeconds: ttlSeconds.optional().describe('values vanish so long after they were set; without it never'),
  history: z.number().int().min(1).max(64).default(1).describe('how many values of a key are kept'),
  maxBytes: z
    .number()
    .int()
    .min(limits.kvBucketBytesMin)
    .max(limits.kvBucketBytesMax)
    .default(limits.kvBucketBytesDefault)
    .describe('of all values, those of the history included; what is beyond is refused'),
});
export type PutKvBucketBody = z.infer<typeof putKvBucketBodySchema>;

export const kvBucketSchema = z.object({
  name: kvBucketNameSchema,
  ttlSeconds: ttlSeconds.optional(),
  history: z.number().int(),
  maxBytes: z.number().int(),
  createdAt: timestamp,
  updatedAt: timestamp,
});
export type KvBucket = z.infer<typeof kvBucketSchema>;
export const kvBucketsListSchema = z.object({ buckets: z.array(kvBucketSchema) });
export const deletedKvBucketSchema = z.object({ name: kvBucketNameSchema });
export type DeletedKvBucket = z.infer<typeof deletedKvBucketSchema>;

const expectedRevision = z
  .number()
  .int()
  .min(0)
  .max(Number.MAX_SAFE_INTEGER)
  .describe('that the key has now, or 0 if there is to be none yet; anything else is refused');

export const putKvKeyBodySchema = z.strictObject({
  value: json.refine((value) => value !== undefined, 'is required'),
  revision: expectedRevision.optional(),
  ttlSeconds: ttlSeconds.optional().describe('it vanishes after so long, whatever the bucket says'),
});
export type PutKvKeyBody = z.infer<typeof putKvKeyBodySchema>;
export const deleteKvKeyQuerySchema = z.strictObject({
  revision: z.coerce.number().pipe(expectedRevision.min(1)).optional(),
});

export const kvEntrySchema = z.object({
  key: kvKeySchema,
  revision: z.number().int(),
  value: json,
  updatedAt: timestamp,
});
export type KvEntry = z.infer<typeof kvEntrySchema>;
export const storedKvKeySchema = z.object({ key: kvKeySchema, revision: z.number().int() });
export type StoredKvKey = z.infer<typeof storedKvKeySchema>;
export const kvChangeSchema = z.object({
  key: kvKeySchema,
  revision: z.number().int(),
  value: json.optional(),
  deleted: z.literal(true).optional().describe('by somebody, or since its time was over'),
  updatedAt: timestamp,
});
export type KvChange = z.infer<typeof kvChangeSchema>;
export const kvHistorySchema = z.object({ changes: z.array(kvChangeSchema).describe('the oldest first') });

export const kvKeysQuerySchema = z.strictObject({
  pattern: kvPatternSchema.default('>').describe('a key, or a pattern such as `orders.*`'),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  cursor: kvKeySchema.optional().describe('`nextCursor` of the page before'),
});
export type KvKeysQuery = z.infer<typeof kvKeysQuerySchema>;
export const kvKeysPageSchema = z.object({ keys: z.array(kvKeySchema), nextCursor: z.string().optional() });
export type KvKeysPage = z.infer<typeof kvKeysPageSchema>;
export const kvWatchQuerySchema = z.strictObject({
  pattern: kvPatternSchema.default('>'),
  after: z.coerce
    .number()
    .int()
    .min(0)
    .optional()
    .describe('begin behind this revision instead of with what there is'),
});

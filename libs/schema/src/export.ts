/** An environment's data, read whole: table by table, page by page, by the HTTP API. */
import { z } from 'zod';

/** In an order in which what is referred to comes first. */
export const exportedTables = [
  'apps',
  'functions',
  'schedules',
  'events',
  'scheduled_events',
  'runs',
  'run_events',
  'steps',
  'run_logs',
  'timers',
  'waits',
  'signals',
  'dead_letters',
  'webhook_sources',
  'webhook_deliveries',
  'forced_breakers',
  'config_documents',
  'kv_buckets',
  'secrets',
  'environment_quotas',
  'api_keys',
  'signing_keys',
  'nats_credentials',
  'audit_entries',
] as const;
export type ExportedTable = (typeof exportedTables)[number];
export const exportedTableSchema = z.enum(exportedTables);

export const exportQuerySchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1_000).default(1_000),
  cursor: z.string().max(4_096).optional().describe('`nextCursor` of the page before'),
});
export type ExportQuery = z.infer<typeof exportQuerySchema>;

export const exportPageSchema = z.object({
  rows: z
    .array(z.string())
    .describe(
      'each the JSON text of an object, its columns by their names: as text, since numbers in it may be larger than readers of JSON keep. ' +
        'May be none in a page that is not the last',
    ),
  nextCursor: z.string().optional(),
});
export type ExportPage = z.infer<typeof exportPageSchema>;

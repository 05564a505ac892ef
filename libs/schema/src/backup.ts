/** What a backup of NATS says of itself, and which of its streams have their home there. */
import { z } from 'zod';
import { buckets, streams } from './streams.js';

/** As the server has it; only what is looked at here has a name. */
export const streamConfigurationSchema = z.looseObject({
  name: z.string().min(1),
  retention: z.string(),
  num_replicas: z.number().int(),
  metadata: z.record(z.string(), z.string()).optional(),
});
export type StreamConfiguration = z.infer<typeof streamConfigurationSchema>;

const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);

export const streamBackupSchema = z.object({
  configuration: streamConfigurationSchema,
  messages: z.number().int().nonnegative(),
  /** Of subjects, headers and payloads. */
  bytes: z.number().int().nonnegative(),
  /** Of the first message; of the next one if there is none. */
  firstSequence: z.number().int().nonnegative(),
  lastSequence: z.number().int().nonnegative(),
  /** Over every message's sequence, time, subject, headers and payload, in their order. */
  contentSha256: sha256Schema,
  file: z.object({ name: z.string(), bytes: z.number().int().nonnegative(), sha256: sha256Schema }),
});
export type StreamBackup = z.infer<typeof streamBackupSchema>;

export const backupManifestSchema = z.object({
  format: z.literal(1),
  id: z.string(),
  /** Each stream is as it was at a moment between the two. */
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  productVersion: z.string(),
  serverVersion: z.string(),
  streams: z.array(streamBackupSchema),
});
export type BackupManifest = z.infer<typeof backupManifestSchema>;

/** Written last: a backup without it is not whole. */
export const backupManifestFile = 'manifest.json';

/** Streams of ours that have what is nowhere else: events that Postgres has not yet, and messages of topics. */
const homes: ReadonlySet<string> = new Set(['INGEST', 'PUBSUB']);

const transport: ReadonlySet<string> = new Set([
  ...Object.keys(streams).filter((name) => !homes.has(name)),
  ...Object.keys(buckets).map((name) => `KV_${name}`),
]);

/** Whether Postgres has what is in it, or whoever runs makes it again. All others (tenants' buckets, streams of others) live in NATS alone. */
export function isTransport(stream: string): boolean {
  return transport.has(stream);
}

/** Key-value buckets and object stores are streams by the names of their conventions. */
export function isBucket(stream: string): boolean {
  return stream.startsWith('KV_') || stream.startsWith('OBJ_');
}

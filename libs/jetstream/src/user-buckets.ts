/**
 * Key-value buckets of tenants. Their values live here and nowhere else; what they are set to is kept by whoever opens them, so that a
 * bucket that NATS has lost is made again, empty. Read from the stream's leader; each change has the stream's sequence as its revision.
 */
import { Kvm } from '@nats-io/kv';
import { jetstreamManager } from '@nats-io/jetstream';
import type { StreamConfig } from '@nats-io/jetstream';
import { IronflowError, messageOf } from '@ironflow/errors';
import { userBucketName } from '@ironflow/schema';
import type { Connection } from './connection.js';
import type { Publisher } from './publisher.js';

export interface UserBucketPlace {
  environmentId: string;
  name: string;
}

export interface UserBucketSettings {
  /** Values vanish after so long; absent: never. */
  ttlSeconds?: number | undefined;
  /** How many values of a key are kept: 1 to 64. */
  history: number;
  maxBytes: number;
}

export interface UserBucketChange {
  key: string;
  revision: number;
  /** JSON text; absent: it was deleted, or has expired. */
  value: string | undefined;
  changedAt: string;
}

export type PutOutcome = { kind: 'stored'; revision: number } | { kind: 'mismatch' } | { kind: 'full' };

export interface UserBucket {
  get(key: string): Promise<UserBucketChange | undefined>;
  /** `revision`: what the key has to be at now, 0 for none. */
  put(
    key: string,
    value: string,
    options: { revision?: number | undefined; ttlSeconds?: number | undefined },
  ): Promise<PutOutcome>;
  delete(key: string, revision: number | undefined): Promise<PutOutcome>;
  /** Those that there are, sorted; `undefined` if there are more than `max`. */
  keys(pattern: string, max: number): Promise<string[] | undefined>;
  /** The next change that is kept of any key that a pattern names. */
  next(pattern: string, from: number): Promise<UserBucketChange | undefined>;
  /** Something may be there to be read. */
  onChange(pattern: string, listener: () => void): () => void;
}

export interface UserBuckets {
  /** Makes it, or changes what it is set to. Rejects with `kv_storage_full`. */
  ensure(place: UserBucketPlace, settings: UserBucketSettings): Promise<void>;
  /** With all its values; nothing to do if there is none. */
  remove(place: UserBucketPlace): Promise<void>;
  /** `onMissing` makes it again, or rejects: then so does what was asked. */
  open(place: UserBucketPlace, onMissing: () => Promise<void>): UserBucket;
}

export interface UserBucketsOptions {
  connection: Connection;
  publisher: Publisher;
  replicas: number;
}

const nanosecondsPerSecond = 1_000_000_000;
const streamNotFound = 10059;
const noMessageFound = 10037;
const storageFull = 10047;
/** How long a watcher can still see that a key has expired. */
const expiryTold = 60;
/** A message is heard before the leader has stored it. */
const storedAfterMs = 500;
const decoder = new TextDecoder();

export function createUserBuckets(options: UserBucketsOptions): UserBuckets {
  const { connection, replicas } = options;
  return {
    ensure: async (place, { ttlSeconds = 0, history, maxBytes }) => {
      const manager = await jetstreamManager(connection.nats, { checkAPI: false });
      const bucket = userBucketName(place);
      // As the KV convention (ADR-8) asks for, so that any NATS client can read it.
      const config = {
        name: `KV_${bucket}`,
        subjects: [`$KV.${bucket}.>`],
        storage: 'file',
        num_replicas: replicas,
        max_age: ttlSeconds * nanosecondsPerSecond,
        max_bytes: maxBytes,
        max_msgs_per_subject: history,
        discard: 'new',
        allow_rollup_hdrs: true,
        deny_delete: true,
        allow_direct: false,
        allow_msg_ttl: true,
        subject_delete_marker_ttl: expiryTold * nanosecondsPerSecond,
        duplicate_window: Math.min(ttlSeconds || 120, 120) * nanosecondsPerSecond,
      } as unknown as StreamConfig;
      try {
        await manager.streams.add(config).catch(async (error: unknown) => {
          if (codeOf(error) === storageFull) throw error;
          await manager.streams.update(config.name, config);
        });
      } catch (error) {
        if (codeOf(error) !== storageFull) throw error;
        const message =
          'there is no room for a bucket of that size: the platform’s storage is promised to others';
        throw new IronflowError('conflict', 'kv_storage_full', message, { field: 'maxBytes' });
      }
    },
    remove: async (place) => {
      const manager = await jetstreamManager(connection.nats, { checkAPI: false });
      await manager.streams.delete(`KV_${userBucketName(place)}`).catch((error: unknown) => {
        if (codeOf(error) !== streamNotFound) throw error;
      });
    },
    open: (place, onMissing) => openUserBucket(options, userBucketName(place), onMissing),
  };
}

function openUserBucket(
  { connection, publisher }: UserBucketsOptions,
  bucket: string,
  onMissing: () => Promise<void>,
): UserBucket {
  const prefix = `$KV.${bucket}.`;
  const unlessMissing = async <T>(work: () => Promise<T | typeof missing>): Promise<T> => {
    let answer = await work();
    if (answer === missing) {
      await onMissing();
      answer = await work();
    }
    if (answer === missing) throw unavailable('the bucket is missing');
    return answer;
  };
  const read = (query: Record<string, unknown>): Promise<UserBucketChange | undefined> =>
    unlessMissing(async () => {
      const subject = `$JS.API.STREAM.MSG.GET.KV_${bucket}`;
      const reply = await connection.request({ subject, data: JSON.stringify(query) });
      if (reply.kind !== 'message') throw unavailable(reply.kind);
      const { message, error } = JSON.parse(decoder.decode(reply.data)) as GetBody;
      if (message !== undefined) return changeOf(message, prefix);
      if (error?.err_code === noMessageFound) return undefined;
      if (error?.err_code === streamNotFound) return missing;
      throw unavailable(error?.description ?? 'no message');
    });
  const last = (key: string) => read({ last_by_subj: prefix + key });
  const publish = (
    key: string,
    data: string,
    { revision, headers = {} }: { revision: number | undefined; headers?: Record<string, string> },
  ): Promise<PutOutcome> =>
    unlessMissing(async () => {
      const subject = prefix + key;
      const expect = revision === undefined ? {} : { expect: { filter: subject, lastSequence: revision } };
      const result = await publisher.publish({ subject, data, headers, ...expect });
      if (result.kind === 'stored') return { kind: 'stored', revision: result.sequence };
      if (result.kind === 'no_stream') return missing;
      if (result.kind === 'conflict') return { kind: 'mismatch' };
      if (result.kind === 'stream_full') return { kind: 'full' };
      throw unavailable(result.kind);
    });
  return {
    get: async (key) => {
      const found = await last(key);
      return found?.value === undefined ? undefined : found;
    },
    put: async (key, value, { revision, ttlSeconds }) => {
      const headers = ttlSeconds === undefined ? {} : { headers: { 'Nats-TTL': `${ttlSeconds}s` } };
      const outcome = await publish(key, value, { revision, ...headers });
      if (outcome.kind !== 'mismatch' || revision !== 0) return outcome;
      // What was deleted is there as a note of that.
      const found = await last(key);
      if (found === undefined || found.value !== undefined) return outcome;
      return publish(key, value, { revision: found.revision, ...headers });
    },
    delete: async (key, revision) => {
      const outcome = await publish(key, '', { revision, headers: { 'KV-Operation': 'DEL' } });
      if (outcome.kind !== 'full') return outcome;
      // There is no room for a note of it: then nothing of the key is left, and nobody who watches is told.
      const found = await last(key);
      if (found === undefined) return { kind: 'mismatch' };
      if (revision !== undefined && found.revision !== revision) return { kind: 'mismatch' };
      const subject = `$JS.API.STREAM.PURGE.KV_${bucket}`;
      const reply = await connection.request({ subject, data: JSON.stringify({ filter: prefix + key }) });
      if (reply.kind !== 'message') throw unavailable(reply.kind);
      return { kind: 'stored', revision: found.revision };
    },
    keys: (pattern, max) => unlessMissing(() => readKeys(connection, { bucket, pattern, max })),
    next: (pattern, from) => read({ seq: from, next_by_subj: prefix + pattern }),
    onChange: (pattern, listener) => {
      let again: NodeJS.Timeout | undefined;
      const stop = connection.listen(prefix + pattern, () => {
        listener();
        clearTimeout(again);
        again = setTimeout(listener, storedAfterMs).unref();
      });
      return () => {
        clearTimeout(again);
        stop();
      };
    },
  };
}

const missing = Symbol('the stream is missing');

async function readKeys(
  connection: Connection,
  { bucket, pattern, max }: { bucket: string; pattern: string; max: number },
): Promise<string[] | undefined | typeof missing> {
  try {
    const found: string[] = [];
    const kv = await new Kvm(connection.nats).open(bucket);
    for await (const key of await kv.keys(pattern)) {
      if (found.length >= max) return undefined;
      found.push(key);
    }
    return found.sort();
  } catch (error) {
    if (codeOf(error) === streamNotFound || /not found/i.test(messageOf(error))) return missing;
    throw error;
  }
}

interface GetBody {
  message?: { subject: string; seq: number; data?: string; hdrs?: string; time: string };
  error?: { err_code?: number; description?: string };
}

function changeOf(
  { subject, seq, data = '', hdrs = '', time }: NonNullable<GetBody['message']>,
  prefix: string,
): UserBucketChange {
  const isGone = /^(KV-Operation: (DEL|PURGE)|Nats-Marker-Reason:)/m.test(
    Buffer.from(hdrs, 'base64').toString('utf8'),
  );
  return {
    key: subject.slice(prefix.length),
    revision: seq,
    value: isGone ? undefined : Buffer.from(data, 'base64').toString('utf8'),
    changedAt: new Date(time).toISOString(),
  };
}

function codeOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'number' ? error.code : undefined;
}

function unavailable(why: string): IronflowError {
  return new IronflowError('unavailable', 'stream_unavailable', `the bucket cannot be reached now: ${why}`, {
    retryAfterSeconds: 1,
  });
}

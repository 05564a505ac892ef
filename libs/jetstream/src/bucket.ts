/**
 * A key-value bucket: written by compare-and-set and read from the stream's leader, never from a replica that may be behind.
 * The client asks the leader (STREAM.MSG.GET) for a bucket that it opened without being told of `allow_direct`.
 */
import { Kvm } from '@nats-io/kv';
import type { KV } from '@nats-io/kv';
import { messageOf } from '@ironflow/errors';
import type { BucketName } from '@ironflow/schema';
import { watchBucket } from './bucket-watch.js';
import type { Connection } from './connection.js';
import type { JetStreamLog } from './log.js';
import type { Provisioner } from './provisioner.js';

export interface BucketEntry {
  value: string;
  /** What `update` expects. */
  revision: number;
}

export interface Bucket {
  get(key: string): Promise<BucketEntry | undefined>;
  keys(): Promise<string[]>;
  /**
   * What there is under keys that a filter such as `shop.*` names and is wanted, in no order; at most `max`, those beyond it are
   * left out.
   */
  entries(
    filter: string,
    max: number,
    isWanted?: (value: string) => boolean,
  ): Promise<{ key: string; value: string }[]>;
  put(key: string, value: string): Promise<void>;
  /** False if the key exists. */
  create(key: string, value: string): Promise<boolean>;
  /** False if the key is no longer at that revision. */
  update(key: string, value: string, revision: number): Promise<boolean>;
  delete(key: string): Promise<void>;
  /**
   * Tells every key that is there, and every one that changes at once and again a moment later. It says that a key changed,
   * not to what: a watcher that reads the key afterwards sees the truth, also when a write that was seen was refused. Keys
   * that expire are not told. Rejects when the bucket cannot be read now: nothing is watched then.
   */
  watch(onChange: (key: string) => void): Promise<() => void>;
}

const wrongLastSequence = 10071;
const noStreamCodes = new Set([10059, 503]);

export interface BucketOptions {
  connection: Connection;
  provisioner: Provisioner;
  name: BucketName;
  log?: JetStreamLog | undefined;
}

export function openBucket({ connection, provisioner, name, log }: BucketOptions): Bucket {
  let opened: Promise<KV> | undefined;
  const open = (): Promise<KV> => {
    opened ??= new Kvm(connection.nats).open(name).catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  };
  /** Provisions and tries once more when the bucket is missing. */
  const withBucket = async <T>(work: (bucket: KV) => Promise<T>): Promise<T> => {
    try {
      return await work(await open());
    } catch (error) {
      if (!isMissing(error)) throw error;
      opened = undefined;
      await provisioner.ensure();
      return work(await open());
    }
  };
  const keys = (): Promise<string[]> =>
    withBucket(async (bucket) => {
      const found: string[] = [];
      for await (const key of await bucket.keys()) found.push(key);
      return found;
    });
  return {
    keys,
    get: (key) =>
      withBucket(async (bucket) => {
        const entry = await bucket.get(key);
        if (entry === null || entry.operation !== 'PUT') return undefined;
        return { value: entry.string(), revision: entry.revision };
      }),
    entries: (filter, max, isWanted = () => true) =>
      withBucket((bucket) => readEntries(bucket, { filter, max, isWanted })),
    put: (key, value) => withBucket(async (bucket) => void (await bucket.put(key, value))),
    create: (key, value) => withBucket((bucket) => succeeds(bucket.create(key, value))),
    update: (key, value, revision) => withBucket((bucket) => succeeds(bucket.update(key, value, revision))),
    delete: (key) => withBucket((bucket) => bucket.delete(key)),
    watch: (onChange) => watchBucket({ connection, name, keys, onChange, log }),
  };
}

async function readEntries(
  bucket: KV,
  { filter, max, isWanted }: { filter: string; max: number; isWanted: (value: string) => boolean },
): Promise<{ key: string; value: string }[]> {
  // By key: one that is written meanwhile comes a second time.
  const found = new Map<string, string>();
  // A bucket keeps the last value of a key, so its history is what there is now.
  for await (const entry of await bucket.history({ key: filter })) {
    const value = entry.operation === 'PUT' ? entry.string() : undefined;
    if (value !== undefined && isWanted(value)) found.set(entry.key, value);
    else found.delete(entry.key);
    if (found.size >= max) break;
  }
  return [...found].map(([key, value]) => ({ key, value }));
}

async function succeeds(write: Promise<number>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (codeOf(error) === wrongLastSequence) return false;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined && noStreamCodes.has(code)) return true;
  return /no responders|stream not found|bucket not found/i.test(messageOf(error));
}

function codeOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'number' ? error.code : undefined;
}

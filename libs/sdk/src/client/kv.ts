/** `client.kv('bucket')`: key-value buckets of the environment. Their values are in NATS alone: a platform whose NATS is wiped has lost them. */
import type {
  DeletedKvBucket,
  KvBucket,
  KvChange,
  KvEntry,
  KvKeysPage,
  KvKeysQuery,
  StoredKvKey,
} from '@ironflow/schema';
import { ConfigurationError } from '../configuration-error.js';
import { parseDuration } from '../duration.js';
import type { Duration } from '../duration.js';
import { IronflowApiError } from './api-error.js';
import type { Http } from './http.js';
import { readEvents } from './reconnecting-events.js';

export interface KvBucketOptions {
  /** Values vanish so long after they were set; a second at least. Without it never. */
  ttl?: Duration;
  /** How many values of a key are kept: 1, the default, to 64. */
  history?: number;
  /** Of all values together; 64 MiB by default. */
  maxBytes?: number;
}

export interface Kv {
  /** Makes it, or changes what it is set to: what is left out has its default again. */
  create(options?: KvBucketOptions): Promise<KvBucket>;
  describe(): Promise<KvBucket>;
  /** With all its values. */
  deleteBucket(): Promise<DeletedKvBucket>;
  /** `undefined` if there is none. */
  get(key: string): Promise<KvEntry | undefined>;
  /** Any JSON, at most 1,000 KiB. With `revision` only if the key is at that one now (0: there is none yet): else `revision_mismatch`. */
  put(key: string, value: unknown, options?: { revision?: number; ttl?: Duration }): Promise<StoredKvKey>;
  delete(key: string, options?: { revision?: number }): Promise<StoredKvKey>;
  /** In their order; `pattern` such as `orders.*`. */
  keys(query?: Partial<KvKeysQuery>): Promise<KvKeysPage>;
  /** What is kept of a key, the oldest first, deletions among it. */
  history(key: string): Promise<KvChange[]>;
  /** Every change that is kept, the oldest first, and then those that come; behind `after`, if that is given. Connects again when it is cut off. */
  watch(options?: {
    pattern?: string;
    after?: number;
    signal?: AbortSignal;
  }): AsyncIterableIterator<KvChange>;
}

export async function listKvBuckets(http: Http): Promise<KvBucket[]> {
  const { buckets } = await http.json<{ buckets: KvBucket[] }>({ method: 'GET', path: '/v1/kv' });
  return buckets;
}

export function createKv(http: Http, bucket: string): Kv {
  const path = `/v1/kv/${encodeURIComponent(bucket)}`;
  const pathOf = (key: string): string => `${path}/keys/${encodeURIComponent(key)}`;
  return {
    create: async ({ ttl, ...options } = {}) => {
      const body = JSON.stringify({ ...options, ttlSeconds: secondsOf(ttl) });
      return http.json({ method: 'PUT', path, body });
    },
    describe: () => http.json({ method: 'GET', path }),
    deleteBucket: () => http.json({ method: 'DELETE', path }),
    get: async (key) => {
      try {
        return await http.json<KvEntry>({ method: 'GET', path: pathOf(key) });
      } catch (thrown) {
        if (thrown instanceof IronflowApiError && thrown.code === 'kv_key_not_found') return undefined;
        throw thrown;
      }
    },
    put: async (key, value, { revision, ttl } = {}) => {
      const body = JSON.stringify({ value, revision, ttlSeconds: secondsOf(ttl) });
      return http.json({ method: 'PUT', path: pathOf(key), body });
    },
    delete: (key, { revision } = {}) =>
      http.json({ method: 'DELETE', path: pathOf(key), query: { revision } }),
    keys: (query = {}) => http.json({ method: 'GET', path: `${path}/keys`, query }),
    history: async (key) => {
      const found = await http.json<{ changes: KvChange[] }>({
        method: 'GET',
        path: `${pathOf(key)}/history`,
      });
      return found.changes;
    },
    watch: (options = {}) => watchBucket(http, `${path}/watch`, options),
  };
}

function secondsOf(ttl: Duration | undefined): number | undefined {
  if (ttl === undefined) return undefined;
  const seconds = parseDuration(ttl) / 1_000;
  if (!Number.isInteger(seconds)) throw new ConfigurationError('ttl: must be whole seconds', 'ttl');
  return seconds;
}

async function* watchBucket(
  http: Http,
  path: string,
  { pattern, after, signal }: { pattern?: string; after?: number; signal?: AbortSignal },
): AsyncIterableIterator<KvChange> {
  let seen = after;
  const changes = readEvents({
    http,
    signal,
    request: () => ({ path, query: { pattern, after: seen } }),
    isNews: ({ name }) => name === 'change',
  });
  for await (const text of changes) {
    const change = JSON.parse(text) as KvChange;
    seen = change.revision;
    yield change;
  }
}

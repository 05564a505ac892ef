/** What the key-value buckets of an environment are set to. Their values are in NATS: a bucket that is lost there is made again from here. */
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type { KvBucket, PutKvBucketBody } from '@ironflow/schema';
import type { Database, Statement } from './database.js';

export interface KvBucketStore {
  /** Rejects with `too_many_kv_buckets`. */
  put(environmentId: string, name: string, settings: PutKvBucketBody): Promise<KvBucket>;
  list(environmentId: string): Promise<KvBucket[]>;
  get(environmentId: string, name: string): Promise<KvBucket | undefined>;
  /** Whether there was one. */
  delete(environmentId: string, name: string): Promise<boolean>;
}

export function createKvBucketStore(database: Database): KvBucketStore {
  return {
    put: (environmentId, name, { ttlSeconds, history, maxBytes }) =>
      database.inEnvironment(environmentId, async (transaction) => {
        await transaction.query(lockStatement, [environmentId]);
        const [counted] = await transaction.query<{ others: number }>(othersStatement, [environmentId, name]);
        if (counted!.others >= limits.kvBucketsMax) {
          const rule = `an environment has at most ${limits.kvBucketsMax} buckets`;
          throw new IronflowError('conflict', 'too_many_kv_buckets', rule);
        }
        const values = [environmentId, name, ttlSeconds ?? null, history, maxBytes];
        const [row] = await transaction.query<BucketRow>(putStatement, values);
        return toBucket(row!);
      }),
    list: async (environmentId) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<BucketRow>(listStatement, [environmentId]),
      );
      return rows.map(toBucket);
    },
    get: async (environmentId, name) => {
      const [row] = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<BucketRow>(getStatement, [environmentId, name]),
      );
      return row && toBucket(row);
    },
    delete: async (environmentId, name) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query(deleteStatement, [environmentId, name]),
      );
      return rows.length > 0;
    },
  };
}

interface BucketRow {
  name: string;
  ttl_seconds: number | null;
  history: number;
  max_bytes: number;
  created_at: Date;
  updated_at: Date;
}

function toBucket(row: BucketRow): KvBucket {
  return {
    name: row.name,
    ...(row.ttl_seconds === null ? {} : { ttlSeconds: row.ttl_seconds }),
    history: row.history,
    maxBytes: row.max_bytes,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  };
}

const columns = 'name, ttl_seconds, history, max_bytes::float8, created_at, updated_at';
const lockStatement: Statement = {
  name: 'lock_kv_buckets',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.kv:' || $1, 0))`,
};
const othersStatement: Statement = {
  name: 'other_kv_buckets',
  text: 'select count(*)::int as others from kv_buckets where environment_id = $1 and name <> $2',
};
const putStatement: Statement = {
  name: 'put_kv_bucket',
  text: `insert into kv_buckets (environment_id, name, ttl_seconds, history, max_bytes) values ($1, $2, $3, $4, $5)
    on conflict (environment_id, name) do update set ttl_seconds = excluded.ttl_seconds, history = excluded.history,
      max_bytes = excluded.max_bytes, updated_at = now()
    returning ${columns}`,
};
const listStatement: Statement = {
  name: 'list_kv_buckets',
  text: `select ${columns} from kv_buckets where environment_id = $1 order by name`,
};
const getStatement: Statement = {
  name: 'kv_bucket',
  text: `select ${columns} from kv_buckets where environment_id = $1 and name = $2`,
};
const deleteStatement: Statement = {
  name: 'delete_kv_bucket',
  text: 'delete from kv_buckets where environment_id = $1 and name = $2 returning 1',
};

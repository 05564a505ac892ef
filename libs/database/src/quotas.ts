/** Quotas of environments and what they use of them. Everything within one environment; what is not set is the platform's default. */
import { defaultQuotas, quotaNames } from '@ironflow/schema';
import type { QuotaName, Quotas, QuotasResource, SetQuotasBody } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';

export interface QuotaUse {
  /** Counted no further than the quota. */
  queuedRuns: number;
  /** About, and as the scheduler measured it within the last minutes. */
  storageBytes: number;
}

export interface QuotaStore {
  read(environmentId: string): Promise<{ quotas: Quotas; use: QuotaUse }>;
  /**
   * What is not named stays as it is; null is the default again. Answers the version of the registry that says so, if it is one of
   * those that the registry has.
   */
  set(environmentId: string, quotas: SetQuotasBody): Promise<number | undefined>;
  describe(environmentId: string): Promise<QuotasResource>;
}

export function createQuotaStore(database: Pick<Database, 'inEnvironment'>): QuotaStore {
  const read = (environmentId: string) =>
    database.inEnvironment(environmentId, (transaction) => readRow(transaction, environmentId));
  return {
    read: async (environmentId) => {
      const row = await read(environmentId);
      const use = { queuedRuns: row.used_queued_runs, storageBytes: row.used_storage_bytes };
      return { quotas: { ...defaultQuotas, ...setQuotasOf(row) }, use };
    },
    set: (environmentId, quotas) =>
      database.inEnvironment(environmentId, async (transaction) => {
        await transaction.query(ensureStatement, [environmentId]);
        await transaction.query(setStatement, [environmentId, JSON.stringify(quotas)]);
        if (quotas.concurrency === undefined) return undefined;
        const [raised] = await transaction.query<{ version: number }>(raiseVersionStatement, [environmentId]);
        return raised!.version;
      }),
    describe: (environmentId) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const row = await readRow(transaction, environmentId);
        const [events] = await transaction.query<{ rate: number }>(eventRateStatement, [environmentId]);
        const used = {
          eventsPerSecond: events!.rate,
          queuedRuns: row.used_queued_runs,
          storageBytes: row.used_storage_bytes,
        };
        return describe(setQuotasOf(row), used);
      }),
  };
}

/** Needs ironflow_service. Reads a sample of each table of payloads, of so many pages at most. */
export async function measureStorage(database: Pick<Database, 'query'>, pagesMax: number): Promise<void> {
  await database.query(measureStatement, [pagesMax]);
}

async function readRow(transaction: Queryable, environmentId: string): Promise<QuotasRow> {
  const [row] = await transaction.query<QuotasRow>(readStatement, [environmentId, defaultQuotas.queuedRuns]);
  return row!;
}

interface QuotasRow {
  events_per_second: number | null;
  requests_per_second: number | null;
  payload_bytes: number | null;
  queued_runs: number | null;
  storage_bytes: number | null;
  concurrency: number | null;
  used_queued_runs: number;
  used_storage_bytes: number;
}

function setQuotasOf(row: QuotasRow): Partial<Quotas> {
  const columns: Record<QuotaName, number | null> = {
    eventsPerSecond: row.events_per_second,
    requestsPerSecond: row.requests_per_second,
    payloadBytes: row.payload_bytes,
    queuedRuns: row.queued_runs,
    storageBytes: row.storage_bytes,
    concurrency: row.concurrency,
  };
  return Object.fromEntries(Object.entries(columns).filter(([, limit]) => limit !== null));
}

function describe(set: Partial<Quotas>, used: Partial<Quotas>): QuotasResource {
  const each = quotaNames.map((name) => [
    name,
    {
      limit: set[name] ?? defaultQuotas[name],
      isDefault: set[name] === undefined,
      ...(used[name] === undefined ? {} : { used: used[name] }),
    },
  ]);
  return Object.fromEntries(each) as QuotasResource;
}

const readStatement: Statement = {
  name: 'read_quotas',
  text: `select q.events_per_second, q.requests_per_second, q.payload_bytes, q.queued_runs,
      q.storage_bytes::float8, q.concurrency, coalesce(u.storage_bytes, 0)::float8 as used_storage_bytes,
      (select count(*)::int from (select from runs where environment_id = $1 and status = 'queued'
        limit coalesce(q.queued_runs, $2::int)) as queued) as used_queued_runs
    from (select) as one
    left join environment_quotas q on q.environment_id = $1
    left join environment_use u on u.environment_id = $1`,
};
const eventRateStatement: Statement = {
  name: 'event_rate',
  text: `select count(*)::float8 / 10 as rate from events
    where environment_id = $1 and id >= lowest_id_at(now() - interval '10 seconds') and id < lowest_id_at(now() + interval '1 second')`,
};
const ensureStatement: Statement = {
  name: 'ensure_quotas',
  text: 'insert into environment_quotas (environment_id) values ($1) on conflict do nothing',
};
const columnOf: Record<QuotaName, string> = {
  eventsPerSecond: 'events_per_second',
  requestsPerSecond: 'requests_per_second',
  payloadBytes: 'payload_bytes',
  queuedRuns: 'queued_runs',
  storageBytes: 'storage_bytes',
  concurrency: 'concurrency',
};
const setStatement: Statement = {
  name: 'set_quotas',
  text: `update environment_quotas set ${quotaNames
    .map((name) => {
      const column = columnOf[name];
      return `${column} = case when $2::jsonb ? '${name}' then ($2::jsonb ->> '${name}')::bigint else ${column} end`;
    })
    .join(', ')} where environment_id = $1`,
};
const raiseVersionStatement: Statement = {
  name: 'quotas_raise_version',
  text: 'update environments set registry_version = registry_version + 1 where id = $1 returning registry_version as version',
};
const measureStatement: Statement = { name: 'measure_storage', text: 'select measure_storage($1)' };

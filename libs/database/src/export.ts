/**
 * An environment's data, read whole by the role of tenants: what it may not read, as whatever is sealed, is in no export.
 *
 * Pages are keyset pages by each table's key, so that reading it all takes time in proportion to what there is. Most tables of runs have
 * no index by environment: their pages go along the environment's runs.
 */
import { IronflowError } from '@ironflow/errors';
import { uuidSchema } from '@ironflow/schema';
import type { ExportedTable, ExportPage, ExportQuery } from '@ironflow/schema';
import type { Database, Queryable } from './database.js';
import type { tablesOfAudit, tablesOfEnvironments, tablesOfRuns } from './erasure.js';
import { pageBytesMax } from './page.js';

export interface ExportStore {
  /** Throws `cursor_invalid`. */
  page(environmentId: string, table: ExportedTable, query: ExportQuery): Promise<ExportPage>;
}

type KeyType = 'uuid' | 'text' | 'integer' | 'bigint';
type Key = Readonly<Record<string, KeyType>>;
interface Exported {
  key: Key;
  /** All, unless some are nobody's to read. */
  columns?: readonly string[];
}

type Table =
  'runs' | [...typeof tablesOfRuns, ...typeof tablesOfEnvironments, ...typeof tablesOfAudit][number];

const uuidKey: Key = { id: 'uuid' };
const stepKey: Key = { run_id: 'uuid', step_id: 'text' };

/** Of what erasing removes, all that is a tenant's own. What is not exported says why. */
const tables: { [Name in Table]: Name extends ExportedTable ? Exported : string } = {
  runs: { key: uuidKey },
  steps: { key: { ...stepKey, attempt: 'integer' } },
  run_logs: { key: { run_id: 'uuid', id: 'uuid' } },
  timers: { key: stepKey },
  waits: { key: stepKey },
  signals: { key: { run_id: 'uuid', id: 'uuid' } },
  claimed_outputs: 'on their way to their steps',
  run_events: { key: { run_id: 'uuid', place: 'integer' } },
  approval_links: 'a hash of what was given to whom decides',
  queue_entries: 'made of runs, as long as they wait',
  slots: 'made of runs, as long as they hold them',
  unrouted_events: 'events on their way',
  awaited_events: 'events on their way',
  scheduled_events: { key: uuidKey },
  idempotency_keys: 'kept for a day',
  events: { key: uuidKey },
  dead_letters: { key: uuidKey },
  queue_lanes: 'made of runs, as long as they wait',
  flow_states: 'what rules remember of the last events',
  forced_breakers: { key: { function_id: 'text', endpoint: 'text' } },
  webhook_deliveries: { key: { source_id: 'text', id: 'uuid' } },
  webhook_secrets: 'sealed',
  webhook_sources: { key: { id: 'text' } },
  schedules: { key: { function_id: 'text', cron: 'text', timezone: 'text' } },
  functions: { key: { id: 'text' } },
  apps: { key: { id: 'text' } },
  secrets: {
    key: { name: 'text', version: 'integer' },
    columns: ['environment_id', 'name', 'version', 'created_at'],
  },
  config_documents: { key: { name: 'text' } },
  kv_buckets: { key: { name: 'text' } },
  environment_quotas: { key: { environment_id: 'uuid' } },
  environment_use: 'estimated every minute',
  nats_credentials: { key: uuidKey },
  nats_accounts: 'sealed',
  api_keys: {
    key: uuidKey,
    columns: [
      ...['id', 'environment_id', 'name', 'role', 'scopes', 'created_at', 'expires_at'],
      ...['replaced_until', 'revoked_at', 'last_used_at'],
    ],
  },
  signing_keys: {
    key: uuidKey,
    columns: ['id', 'environment_id', 'version', 'created_at', 'expires_at', 'revoked_at'],
  },
  environment_data_keys: 'sealed',
  audit_entries: { key: { sequence: 'bigint' } },
  audit_heads: 'in the last entry',
};

/** Whose rows one page of a table of runs looks at. */
const runsPerPage = 500;

export function createExportStore(database: Pick<Database, 'inEnvironment'>): ExportStore {
  return {
    page: (environmentId, table, { limit, cursor }) => {
      const exported = tables[table];
      const after = cursor === undefined ? [] : parseCursor(cursor, exported.key);
      const read = 'run_id' in exported.key ? readOfRuns : readRows;
      return database.inEnvironment(environmentId, (transaction) =>
        read(transaction, { environmentId, table, ...exported, after, limit }),
      );
    },
  };
}

interface PageRequest extends Exported {
  environmentId: string;
  table: ExportedTable;
  /** Of the last row before; of a table of runs also a run's id alone, for all of its rows. */
  after: string[];
  limit: number;
}

async function readRows(transaction: Queryable, request: PageRequest): Promise<ExportPage> {
  const { environmentId, table, after, limit } = request;
  const rows = await transaction.query<Row>(
    {
      name: `export_${table}_${after.length}`,
      text: cut(request, `${table} t where t.environment_id = $1 ${behind(request)}`),
    },
    [environmentId, limit + 1, pageBytesMax, ...after],
  );
  return pageOf(rows, limit);
}

async function readOfRuns(transaction: Queryable, request: PageRequest): Promise<ExportPage> {
  const { environmentId, table, key, after, limit } = request;
  const isWithin = after.length === Object.keys(key).length;
  const [firstRun] = after;
  const runs = await transaction.query<{ id: string }>(
    {
      name: `export_runs_${isWithin ? 'from' : 'behind'}`,
      text: `select id from runs where environment_id = $1 and id ${isWithin ? '>=' : '>'} $2 order by id limit $3`,
    },
    [environmentId, firstRun ?? '00000000-0000-0000-0000-000000000000', runsPerPage],
  );
  const ids = runs.map(({ id }) => id);
  const place = isWithin ? after : [];
  const idsAt = 4 + place.length;
  const from = `unnest($${idsAt}::uuid[]) as r (id) join ${table} t on t.run_id = r.id
    where t.environment_id = $1 ${behind({ key, after: place })}`;
  const name = `export_${table}_${place.length}`;
  const rows = await transaction.query<Row>({ name, text: cut(request, from) }, [
    ...[environmentId, limit + 1, pageBytesMax],
    ...place,
    ids,
  ]);
  const page = pageOf(rows, limit);
  if (page.nextCursor !== undefined || ids.length < runsPerPage) return page;
  return { ...page, nextCursor: cursorOf([ids.at(-1)!]) };
}

interface Row {
  row: string;
  place: string[];
  beyond: boolean;
}

/** One row more than the page takes, if there is one; what is beyond its bytes comes without its text. */
function cut({ key, columns }: Exported, from: string): string {
  const names = Object.keys(key).map((name) => `t.${name}`);
  const row =
    columns === undefined
      ? 'to_json(t)'
      : `json_build_object(${columns.map((name) => `'${name}', t.${name}`).join(', ')})`;
  return `select case when beyond then '' else row end as row, place, beyond from (
      select row, place, row_number() over in_order > 1 and sum(octet_length(row)) over in_order > $3 as beyond
      from (select ${row}::text as row, array[${names.map((name) => `${name}::text`).join(', ')}] as place,
          row_number() over (order by ${names.join(', ')}) as number
        from ${from} order by ${names.join(', ')} limit $2) as read
      window in_order as (order by number)
    ) as sized`;
}

function behind({ key, after }: Pick<PageRequest, 'key' | 'after'>): string {
  if (after.length === 0) return '';
  const columns = Object.keys(key).map((name) => `t.${name}`);
  const values = Object.values(key).map((type, index) => `$${index + 4}::${type}`);
  return `and (${columns.join(', ')}) > (${values.join(', ')})`;
}

function pageOf(rows: readonly Row[], limit: number): ExportPage {
  const beyond = rows.findIndex((row) => row.beyond);
  const end = Math.min(limit, beyond === -1 ? rows.length : beyond);
  const page = rows.slice(0, end);
  return {
    rows: page.map(({ row }) => row),
    ...(end < rows.length ? { nextCursor: cursorOf(page.at(-1)!.place) } : {}),
  };
}

function cursorOf(place: readonly string[]): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

function parseCursor(cursor: string, key: Key): string[] {
  const types = Object.values(key);
  let place: unknown;
  try {
    place = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    place = undefined;
  }
  const isRun = 'run_id' in key && Array.isArray(place) && place.length === 1;
  const isPlace = Array.isArray(place) && (isRun || place.length === types.length);
  if (!isPlace || !(place as unknown[]).every((value, index) => isOf(types[index]!, value))) {
    const message = 'the cursor must be the `nextCursor` of a page';
    throw new IronflowError('invalid', 'cursor_invalid', message, { field: 'cursor' });
  }
  return place as string[];
}

function isOf(type: KeyType, value: unknown): value is string {
  if (typeof value !== 'string') return false;
  if (type === 'uuid') return uuidSchema.safeParse(value).success;
  if (type === 'text') return !value.includes('\0');
  return /^\d{1,10}$/.test(value) && (type === 'bigint' || Number(value) < 2 ** 31);
}

/** Circuit breakers that operators hold open. By PostgreSQL's clock, as everything whose time decides. */
import { limits, workerEndpoint } from '@ironflow/schema';
import type { CircuitParts, ForcedOpen } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';

export interface ForcedBreaker extends CircuitParts {
  forced: ForcedOpen;
}

export interface ForcedBreakerStore {
  /** The endpoint at which a function is called now; undefined if there is no such function. */
  endpointOf(environmentId: string, functionId: string): Promise<string | undefined>;
  /** Anew, if it was before. */
  force(breaker: CircuitParts, forMs: number | undefined): Promise<ForcedOpen | 'too_many'>;
  /** Whether it was forced open. */
  release(breaker: CircuitParts): Promise<boolean>;
}

export function createForcedBreakerStore(database: Database): ForcedBreakerStore {
  return {
    endpointOf: async (environmentId, functionId) => {
      const [row] = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<{ url: string | null }>(endpointStatement, [environmentId, functionId]),
      );
      return row && (row.url ?? workerEndpoint);
    },
    force: ({ environmentId, functionId, endpoint }, forMs) =>
      database.inEnvironment(environmentId, async (transaction) => {
        if (await isFull(transaction, { environmentId, functionId, endpoint })) return 'too_many';
        const values = [environmentId, functionId, endpoint, forMs ?? null];
        const [row] = await transaction.query<ForcedRow>(forceStatement, values);
        return toForced(row!);
      }),
    release: ({ environmentId, functionId, endpoint }) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const rows = await transaction.query(releaseStatement, [environmentId, functionId, endpoint]);
        return rows.length > 0;
      }),
  };
}

export interface ForcedBreakerList {
  /** Of every environment, those whose time is not over; forgets the others. */
  list(): Promise<ForcedBreaker[]>;
  /** Undefined if it is not forced open any more. */
  find(breaker: CircuitParts): Promise<ForcedOpen | undefined>;
}

/** Needs ironflow_service. */
export function createForcedBreakerList(database: Database): ForcedBreakerList {
  return {
    find: async ({ environmentId, functionId, endpoint }) => {
      const [row] = await database.query<ForcedRow>(findStatement, [environmentId, functionId, endpoint]);
      return row && toForced(row);
    },
    list: async () => {
      const rows = await database.query<ListedRow>(listStatement, []);
      return rows.map((row) => ({
        environmentId: row.environment_id,
        functionId: row.function_id,
        endpoint: row.endpoint,
        forced: toForced(row),
      }));
    },
  };
}

async function isFull(transaction: Queryable, breaker: CircuitParts): Promise<boolean> {
  const { environmentId, functionId, endpoint } = breaker;
  const [row] = await transaction.query<{ others: number }>(othersStatement, [
    environmentId,
    functionId,
    endpoint,
  ]);
  return row!.others >= limits.forcedBreakersMax;
}

interface ForcedRow {
  since_ms: number;
  until_ms: number | null;
}

interface ListedRow extends ForcedRow {
  environment_id: string;
  function_id: string;
  endpoint: string;
}

function toForced({ since_ms: sinceMs, until_ms: untilMs }: ForcedRow): ForcedOpen {
  return { sinceMs, ...(untilMs === null ? {} : { untilMs }) };
}

const forcedColumns = `floor(extract(epoch from since) * 1000)::float8 as since_ms,
  floor(extract(epoch from until) * 1000)::float8 as until_ms`;
const endpointStatement: Statement = {
  name: 'function_endpoint',
  text: `select a.url from functions f join apps a on a.environment_id = f.environment_id and a.id = f.app_id
    where f.environment_id = $1 and f.id = $2`,
};
const othersStatement: Statement = {
  name: 'other_forced_breakers',
  text: `select count(*)::int as others from forced_breakers
    where environment_id = $1 and (function_id, endpoint) <> ($2, $3) and (until is null or until > now())`,
};
const forceStatement: Statement = {
  name: 'force_breaker',
  text: `insert into forced_breakers (environment_id, function_id, endpoint, since, until)
    values ($1, $2, $3, clock_timestamp(), clock_timestamp() + $4::float8 * interval '1 ms')
    on conflict (environment_id, function_id, endpoint) do update
      set since = excluded.since, until = excluded.until
    returning ${forcedColumns}`,
};
const releaseStatement: Statement = {
  name: 'release_breaker',
  text: `delete from forced_breakers where environment_id = $1 and function_id = $2 and endpoint = $3
    returning 1`,
};
const findStatement: Statement = {
  name: 'find_forced_breaker',
  text: `select ${forcedColumns} from forced_breakers
    where environment_id = $1 and function_id = $2 and endpoint = $3 and (until is null or until > now())`,
};
const listStatement: Statement = {
  name: 'list_forced_breakers',
  text: `with over as (delete from forced_breakers where until <= now())
    select environment_id, function_id, endpoint, ${forcedColumns} from forced_breakers
    where until is null or until > now() order by environment_id, function_id, endpoint`,
};

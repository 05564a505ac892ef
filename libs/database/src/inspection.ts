/**
 * What a database is like to one of its logins, for whoever looks after the installation. It only reads; what it means is decided
 * elsewhere. A fact that could not be read is absent.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { IronflowError, messageOf } from '@ironflow/errors';
import { codeOf } from './database-error.js';
import { createDatabase } from './database.js';
import type { Database, Statement } from './database.js';
import { expectedRights } from './expected-rights.js';
import { partitionedTables } from './partitions.js';
import type { ServiceRole } from './roles.js';
import { describeSchema } from './schema-version.js';
import type { SchemaDescription } from './schema-version.js';

export type PostgresInspection =
  /** `code` is PostgreSQL's or the system's. */
  | { kind: 'unreachable'; code: string | undefined; why: string }
  | { kind: 'connected'; facts: PostgresFacts };

export interface PostgresFacts {
  /** Such as 180004. */
  version: number;
  login: LoginFacts;
  settings: SettingFacts;
  connections: ConnectionFacts;
  schema: SchemaDescription;
  /** Tables of tenants whose rows are not protected, or not from their owner. */
  unprotectedTables: string[];
  /** Whether rows are seen without saying of which environment. */
  seesEveryEnvironment: boolean;
  rights: RightsFacts;
  /** Partitions of this month and the next that are not there. */
  missingPartitions: string[];
  /** The code of the error with which a query failed that needs some space on the disk. */
  spillError: string | undefined;
  /** How much its clock is ahead of this machine's, give or take. */
  clock: { aheadMs: number; uncertaintyMs: number };
}

export interface LoginFacts {
  name: string;
  isSuperuser: boolean;
  bypassesRowSecurity: boolean;
  isOwner: boolean;
  /** Policies and grants of the role that it should be hold for it. */
  isRole: boolean;
}

export interface SettingFacts {
  isReadOnly: boolean;
  isStandby: boolean;
  /** Those that are `off` and should not be. */
  unsafe: string[];
}

export interface ConnectionFacts {
  /** Without those that are kept for superusers. */
  max: number;
  used: number;
}

/** As `table: right`, or the name of a function. */
export interface RightsFacts {
  missing: string[];
  excessive: string[];
}

export interface PostgresInspectionOptions {
  url: string;
  /** What it should be. */
  role: ServiceRole;
}

export async function inspectPostgres({ url, role }: PostgresInspectionOptions): Promise<PostgresInspection> {
  const database = createDatabase({
    url,
    applicationName: 'ironflow-doctor',
    maxConnections: 1,
    statementTimeoutMs: 20_000,
  });
  try {
    return { kind: 'connected', facts: await readFacts(database, role) };
  } catch (error) {
    const cause = error instanceof IronflowError ? (error.cause ?? error) : error;
    return { kind: 'unreachable', code: codeOf(firstOf(cause)), why: messageOf(firstOf(cause)) };
  } finally {
    await database.close();
  }
}

/** All addresses of a name may have failed. */
function firstOf(error: unknown): unknown {
  return error instanceof AggregateError ? error.errors[0] : error;
}

async function readFacts(database: Database, role: ServiceRole): Promise<PostgresFacts> {
  const one = async <Row>(statement: Statement, values: unknown[] = []): Promise<Row> =>
    (await database.query<Row>(statement, values))[0]!;
  const server = await one<ServerRow>(serverStatement, [role]);
  const schema = await describeSchema(database);
  const isMigrated = schema.newest !== undefined;
  const tables = isMigrated ? await database.query<TableRow>(tablesStatement, []) : [];
  return {
    version: server.version,
    login: {
      name: server.login,
      isSuperuser: server.superuser,
      bypassesRowSecurity: server.bypasses,
      isOwner: server.owner,
      isRole: server.member,
    },
    settings: {
      isReadOnly: server.read_only,
      isStandby: server.standby,
      unsafe: Object.entries(server.settings)
        .filter(([, value]) => value === 'off')
        .map(([name]) => name),
    },
    connections: { max: server.connections_max, used: server.connections_used },
    schema,
    unprotectedTables: tables.filter((table) => table.of_tenants && !table.forced).map(({ name }) => name),
    seesEveryEnvironment: isMigrated && (await seesRows(database)),
    rights: isMigrated ? await compareRights(database, tables, role) : { missing: [], excessive: [] },
    missingPartitions: isMigrated
      ? (await one<{ missing: string[] }>(partitionsStatement, [partitionedTables])).missing
      : [],
    spillError: await tryToSpill(database),
    clock: await readClock(database),
  };
}

/** Of a login that may not even read it nothing is known, and nothing is seen. */
async function seesRows(database: Database): Promise<boolean> {
  return database.query<{ seen: boolean }>(seesStatement, []).then(
    ([row]) => row!.seen,
    () => false,
  );
}

async function compareRights(
  database: Database,
  tables: readonly TableRow[],
  role: ServiceRole,
): Promise<RightsFacts> {
  const expected = expectedRights[role];
  const rights: RightsFacts = { missing: [], excessive: [] };
  for (const { name, rights: has } of tables) {
    // What a newer schema has beyond this build is not this build's to judge. That of services may read every table.
    if (!(name in expectedRights.ironflow_service.tables)) continue;
    const wanted: readonly string[] = expected.tables[name] ?? [];
    rights.missing.push(
      ...wanted.filter((right) => !has.includes(right)).map((right) => `${name}: ${right}`),
    );
    rights.excessive.push(
      ...has.filter((right) => !wanted.includes(right)).map((right) => `${name}: ${right}`),
    );
  }
  const functions = await database.query<{ name: string }>(functionsStatement, [expected.functions]);
  rights.missing.push(...functions.map(({ name }) => `${name}()`));
  return rights;
}

/**
 * Sorts a little more than fits into memory: what does not is written to a file of the server's and removed with the query. A disk that
 * is full says so here, and harms nothing else.
 */
async function tryToSpill(database: Database): Promise<string | undefined> {
  try {
    await database.transaction(async (transaction) => {
      await transaction.query(littleMemoryStatement, []);
      await transaction.query(spillStatement, []);
    });
    return undefined;
  } catch (error) {
    return codeOf(error instanceof IronflowError ? (error.cause ?? error) : error) ?? 'unknown';
  }
}

const readingsMax = 5;

/** The reading that took the least time is the best. */
async function readClock(database: Database): Promise<PostgresFacts['clock']> {
  const readings: PostgresFacts['clock'][] = [];
  for (let reading = 0; reading < readingsMax; reading += 1) {
    const sentAt = Date.now();
    const nowMs = await database.now();
    const uncertaintyMs = (Date.now() - sentAt) / 2;
    readings.push({ aheadMs: nowMs - (sentAt + uncertaintyMs), uncertaintyMs });
    await delay(5);
  }
  return readings.reduce((best, next) => (next.uncertaintyMs < best.uncertaintyMs ? next : best));
}

interface ServerRow {
  version: number;
  login: string;
  superuser: boolean;
  bypasses: boolean;
  owner: boolean;
  member: boolean;
  read_only: boolean;
  standby: boolean;
  settings: Record<string, string>;
  connections_max: number;
  connections_used: number;
}

interface TableRow {
  name: string;
  of_tenants: boolean;
  forced: boolean;
  rights: string[];
}

// Of the sessions of other logins one without rights to watch them sees no more than how many there are.
const serverStatement: Statement = {
  name: 'inspect_server',
  text: `select current_setting('server_version_num')::int as version, r.rolname::text as login, r.rolsuper as superuser,
      r.rolbypassrls as bypasses,
      exists (select from pg_roles o where o.rolname = 'ironflow_owner' and pg_has_role(r.oid, o.oid, 'usage')) as owner,
      exists (select from pg_roles o where o.rolname = $1 and pg_has_role(r.oid, o.oid, 'usage')) as member,
      current_setting('transaction_read_only') = 'on' as read_only, pg_is_in_recovery() as standby,
      json_build_object('fsync', current_setting('fsync'), 'full_page_writes', current_setting('full_page_writes'),
        'synchronous_commit', current_setting('synchronous_commit')) as settings,
      least(case when r.rolconnlimit < 0 then null else r.rolconnlimit end,
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int) as connections_max,
      case when r.rolconnlimit < 0 then (select sum(numbackends)::int from pg_stat_database)
        else (select count(*)::int from pg_stat_activity a where a.usesysid = r.oid) end as connections_used
    from pg_roles r where r.rolname = current_user`,
};

const rightsOf = ['select', 'insert', 'update']
  .map((right) => `case when has_any_column_privilege(c.oid, '${right}') then '${right}' end`)
  .concat(
    ['delete', 'truncate'].map(
      (right) => `case when has_table_privilege(c.oid, '${right}') then '${right}' end`,
    ),
  );
const tablesStatement: Statement = {
  name: 'inspect_tables',
  text: `select c.relname::text as name, c.relrowsecurity and c.relforcerowsecurity as forced,
      exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'environment_id'
        and not a.attisdropped) as of_tenants,
      array_remove(array[${rightsOf.join(', ')}], null) as rights
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition order by 1`,
};
const seesStatement: Statement = {
  name: 'inspect_isolation',
  text: 'select exists (select from environments) as seen',
};
const functionsStatement: Statement = {
  name: 'inspect_functions',
  text: `select distinct p.proname::text as name from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any($1::text[])
      and not has_function_privilege(p.oid, 'execute') order by 1`,
};
const partitionsStatement: Statement = {
  name: 'inspect_partitions',
  text: `select coalesce(array_agg(name order by name), '{}') as missing from (
      select parent || to_char((now() at time zone 'UTC') + later * interval '1 month', '"_m"YYYYMM') as name
      from unnest($1::text[]) as parent, generate_series(0, 1) as later
    ) wanted where to_regclass(format('public.%I', name)) is null`,
};
const littleMemoryStatement: Statement = {
  name: 'inspect_memory',
  text: `select set_config('work_mem', '64kB', true)`,
};
const spillStatement: Statement = {
  name: 'inspect_spill',
  text: `select count(*) from (select md5(i::text) as text from generate_series(1, 20000) as i order by 1 offset 0) sorted`,
};

/**
 * Whole months that are beyond their age, dropped: as ironflow_service, by functions of the owner's. Most of a month costs nothing to
 * remove that way, and nothing is left behind for a vacuum.
 *
 * 1. A month goes only if nothing in it is needed. That is looked through in pages, without a lock; what may have come since is asked
 *    again under the lock that the drop takes anyway, by keys alone (see retire_month in its migration).
 * 2. Nobody waits for it: a table that is busy for 100 ms is left for the next time.
 * 3. Runs first, then what is partitioned by their ids, then what else is theirs, then events: a process that dies in between leaves a
 *    month that is still listed, and is gone on with.
 */
import { IronflowError } from '@ironflow/errors';
import { lowestIdAt } from '@ironflow/schema';
import { codeOf } from './database-error.js';
import type { Database, Queryable, Statement } from './database.js';
import { tablesOfRuns } from './erasure.js';
import { partitionedTables } from './partitions.js';
import { isEnded, isLive } from './retention-rows.js';

/** By the name of its partitions, such as 202601. */
export interface StoredMonth {
  name: string;
  endMs: number;
}

/**
 * Why a month is kept: something in it runs or is on its way, ended too short a while ago, is referred to by something that is not over,
 * or is of an environment that keeps it longer.
 */
export const monthReasons = ['live', 'recently_ended', 'referred_to', 'kept_longer', 'busy'] as const;
export type MonthReason = (typeof monthReasons)[number];

export interface KeptMonth {
  reason: MonthReason;
  /** The first run of those that keep it, where it is runs. */
  runId?: string;
}

export interface MonthQuery {
  month: StoredMonth;
  /** A run that ended later keeps its month. */
  endedBeforeMs: number;
  /** Environments that keep what is in it. */
  keepers: readonly string[];
}

export interface RetentionMonths {
  /** Those that any partition is left of, the oldest first. */
  list(): Promise<StoredMonth[]>;
  /** Undefined when nothing needs it. */
  reasonToKeep(query: MonthQuery): Promise<KeptMonth | undefined>;
  /** Undefined once all of it is gone. A second call goes on where the first had to leave it. */
  drop(month: StoredMonth): Promise<KeptMonth | undefined>;
}

const pageMax = 10_000;
/** For the lock, what is asked under it, and the drop: it is given up and rolled back before anybody waits for long. */
const dropTimeoutMs = 300;

export function createRetentionMonths(database: Pick<Database, 'query' | 'transaction'>): RetentionMonths {
  return {
    list: async () => {
      const rows = await database.query<{ name: string }>(listStatement, [partitionedTables]);
      return rows.map(({ name }) => ({ name, endMs: startOf(name, 1) }));
    },
    reasonToKeep: async ({ month, endedBeforeMs, keepers }) => {
      const bounds = boundsOf(month);
      const [row] = await database.query<{ reason: MonthReason | null }>(neededStatement, [
        ...bounds,
        keepers,
      ]);
      if (row!.reason !== null) return { reason: row!.reason };
      return firstNeededRun(database, bounds, endedBeforeMs);
    },
    drop: async (month) => {
      const others = partitionedTables.filter((table) => table !== 'runs' && table !== 'events');
      const kept = (await retire(database, 'runs', month)) ?? (await retireAll(database, others, month));
      if (kept !== undefined) return kept;
      for (const statement of leftBehindStatements) await removeAll(database, statement, boundsOf(month));
      return retire(database, 'events', month);
    },
  };
}

type Bounds = readonly [lowest: string, end: string];

function boundsOf({ name }: StoredMonth): Bounds {
  return [lowestIdAt(startOf(name, 0)), lowestIdAt(startOf(name, 1))];
}

function startOf(name: string, monthsLater: number): number {
  return Date.UTC(Number(name.slice(0, 4)), Number(name.slice(4)) - 1 + monthsLater);
}

/** In the order of their ids, page by page: no statement takes long, whatever a month has. */
async function firstNeededRun(
  database: Queryable,
  [lowest, end]: Bounds,
  endedBeforeMs: number,
): Promise<KeptMonth | undefined> {
  for (let from = lowest; ;) {
    const [page] = await database.query<RunsPageRow>(runsPageStatement, [from, end, endedBeforeMs, pageMax]);
    const { reason, run_id: runId, last, read } = page!;
    if (reason !== null && runId !== null) return { reason, runId };
    if (read < pageMax || last === null) return undefined;
    // It is read again: bounds are inclusive.
    from = last;
  }
}

interface RunsPageRow {
  read: number;
  last: string | null;
  run_id: string | null;
  reason: MonthReason | null;
}

async function retireAll(
  database: Pick<Database, 'transaction'>,
  tables: readonly string[],
  month: StoredMonth,
): Promise<KeptMonth | undefined> {
  for (const table of tables) {
    const kept = await retire(database, table, month);
    if (kept !== undefined) return kept;
  }
  return undefined;
}

async function retire(
  database: Pick<Database, 'transaction'>,
  table: string,
  { name }: StoredMonth,
): Promise<KeptMonth | undefined> {
  const state = await database
    .transaction(async (transaction) => {
      await transaction.query(boundStatement, []);
      const [row] = await transaction.query<{ state: RetiredState }>(retireStatement, [table, name]);
      return row!.state;
    })
    .catch((error: unknown): RetiredState => {
      if (isGivenUp(error)) return 'busy';
      throw error;
    });
  if (state === 'busy') return { reason: 'busy' };
  return state === 'needed' ? { reason: 'live' } : undefined;
}

type RetiredState = 'dropped' | 'missing' | 'busy' | 'needed';

/** A lock or the time that it may take was not to be had. */
function isGivenUp(error: unknown): boolean {
  const code = codeOf(error instanceof IronflowError ? error.cause : error);
  return code === '55P03' || code === '57014';
}

async function removeAll(database: Queryable, statement: Statement, [lowest, end]: Bounds): Promise<void> {
  for (;;) {
    const [row] = await database.query<{ count: number }>(statement, [lowest, end, pageMax]);
    if (row!.count < pageMax) return;
  }
}

const listStatement: Statement = {
  name: 'list_months',
  text: `select distinct right(c.relname, 6) as name
    from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
    where p.relnamespace = 'public'::regnamespace and p.relname = any($1::text[])
      and c.relname ~ ('^' || p.relname || '_m[0-9]{6}$')
    order by name`,
};

// What lives has a timer, a wait or an entry in a queue, or is found among the runs. Links of runs to those that they invoked matter
// from earlier months alone: those of the month itself have all ended if it is to go. Of a rerun that is not routed yet, the run that it
// repeats is read as it is routed.
const neededStatement: Statement = {
  name: 'month_needed',
  text: `select case
    when exists (select from timers where run_id >= $1 and run_id < $2)
      or exists (select from waits where run_id >= $1 and run_id < $2)
      or exists (select from queue_entries where run_id >= $1 and run_id < $2)
      or exists (select from unrouted_events where event_id >= $1 and event_id < $2)
      or exists (select from awaited_events where event_id >= $1 and event_id < $2)
      or exists (select from scheduled_events where id >= $1 and id < $2) then 'live'
    when exists (select from waits where kind = 'run' and awaited_run_id >= $1 and awaited_run_id < $2)
      or exists (select from dead_letters where run_id >= $1 and run_id < $2 and replayed_at is null)
      or exists (
        select from unrouted_events u
        cross join lateral (select rerun_of from events where events.id = u.event_id offset 0) e
        where e.rerun_of >= $1 and e.rerun_of < $2)
      or exists (
        select from environments e
        cross join lateral (
          select run_id from steps
          where environment_id = e.id and awaited_run_id >= $1 and awaited_run_id < $2 and run_id < $1 offset 0
        ) s
        cross join lateral (select status from runs where runs.id = s.run_id offset 0) r
        where ${isLive('r')}) then 'referred_to'
    when exists (
      select from unnest($3::uuid[]) as k (environment_id)
      where exists (select from runs r where r.environment_id = k.environment_id and r.id >= $1 and r.id < $2 offset 0)
        or exists (
          select from events e where e.environment_id = k.environment_id and e.id >= $1 and e.id < $2 offset 0)
    ) then 'kept_longer'
  end as reason`,
};

// Of events that a batch has taken up the runs were skipped, and name the run that has it.
const runsPageStatement: Statement = {
  name: 'month_runs',
  text: `with page as materialized (
    select id, status, ended_at, created_at, joined_run_id from runs where id >= $1 and id < $2 order by id limit $4
  ), needed as (
    select id, case
        when ${isLive('page')} then 'live'
        when not (${isEnded('page', '$3')}) then 'recently_ended'
        else 'referred_to'
      end as reason
    from page
    where not (${isEnded('page', '$3')})
      or exists (select from runs j where j.id = page.joined_run_id and ${isLive('j')} offset 0)
    order by id limit 1
  )
  select (select count(*)::int from page) as read, (select id from page order by id desc limit 1) as last,
    (select id from needed) as run_id, (select reason from needed) as reason`,
};

const boundStatement: Statement = {
  name: 'bound_retirement',
  text: `select set_config('statement_timeout', '${dropTimeoutMs}', true)`,
};
const retireStatement: Statement = {
  name: 'retire_month',
  text: 'select retire_month($1, $2) as state',
};

const isPartitioned = (table: string): boolean => (partitionedTables as readonly string[]).includes(table);
const leftBehindStatements: Statement[] = [
  ...tablesOfRuns.filter((table) => !isPartitioned(table)),
  'dead_letters',
].map((table) => ({
  name: `left_of_month_${table}`,
  text: `with gone as (
    delete from ${table} where ctid = any(array(
      select l.ctid from ${table} l where l.run_id >= $1 and l.run_id < $2
        and not exists (select from runs where runs.id = l.run_id offset 0) limit $3)) returning 1
  ) select count(*)::int as count from gone`,
}));

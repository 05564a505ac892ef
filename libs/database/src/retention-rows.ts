/**
 * Rows that are beyond the age of their environment, removed by themselves: as ironflow_service, in pages, each a transaction of its own.
 *
 * 1. A run goes with everything that is its own, and only if it ended before the time given and nothing that is not over refers to it:
 *    whoever waits for it, the live run that invoked it or that has taken its event up, a letter that was not replayed, a rerun on its way.
 * 2. An event goes after the last of its runs, and once it is routed and matched.
 * 3. Whoever holds a run's row, holds on to the run: it is passed over.
 */
import { lowestIdAt } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { removeRuns } from './erasure.js';
import { boundsOf } from './id-windows.js';

export interface RowsQuery {
  environmentId: string;
  beforeMs: number;
  /** The last one that the page before has looked at. */
  after: string;
  limit: number;
}

export interface RemovedRows {
  removed: number;
  /** The last one of a full page. */
  next?: string;
}

export interface RetentionRows {
  removeRuns(query: RowsQuery): Promise<RemovedRows>;
  removeEvents(query: RowsQuery): Promise<RemovedRows>;
}

export function createRetentionRows(database: Pick<Database, 'query' | 'transaction'>): RetentionRows {
  return {
    removeRuns: ({ environmentId, beforeMs, after, limit }) =>
      database.transaction(async (transaction) => {
        const window = [environmentId, after, lowestIdAt(beforeMs), limit];
        const page = (await transaction.query<{ id: string }>(runsStatement, window)).map(({ id }) => id);
        if (page.length === 0) return { removed: 0 };
        const { lowest, highest } = boundsOf(page);
        const values = [environmentId, page, lowest, highest, beforeMs];
        const runs = await transaction.query<{ id: string }>(removableStatement, values);
        const ids = runs.map(({ id }) => id);
        if (ids.length > 0) {
          await removeRuns(transaction, environmentId, ids);
          await transaction.query(lettersStatement, [ids, environmentId]);
        }
        return { removed: ids.length, ...(page.length < limit ? {} : { next: highest }) };
      }),
    removeEvents: async ({ environmentId, beforeMs, after, limit }) => {
      const values = [environmentId, after, lowestIdAt(beforeMs), limit, beforeMs];
      const [row] = await database.query<RemovedRow>(eventsStatement, values);
      const { read, removed, last } = row!;
      return { removed, ...(read < limit || last === null ? {} : { next: last }) };
    },
  };
}

interface RemovedRow {
  read: number;
  removed: number;
  last: string | null;
}

/** Of a table or alias of runs. */
export const isLive = (of: string): string =>
  `${of}.status in ('queued', 'running', 'waiting', 'waiting_for_worker')`;

/** Before the milliseconds of a parameter. Runs of early versions that were skipped have no end of their own. */
export const isEnded = (of: string, beforeMs: string): string =>
  `${of}.status in ('completed', 'failed', 'cancelled', 'skipped')
    and coalesce(${of}.ended_at, ${of}.created_at) < to_timestamp(${beforeMs}::float8 / 1000)`;

const runsStatement: Statement = {
  name: 'runs_beyond_age',
  text: 'select id from runs where environment_id = $1 and id > $2 and id < $3 order by id limit $4',
};

// Each is asked run by run: none of these tables is to be read whole, however the planner likes it.
const removableStatement: Statement = {
  name: 'removable_runs',
  text: `with repeating as materialized (
    select e.rerun_of from unrouted_events u
    cross join lateral (select rerun_of from events where events.id = u.event_id offset 0) e
    where u.environment_id = $1 and e.rerun_of is not null
  )
  select r.id from runs r
  where r.environment_id = $1 and r.id = any($2::uuid[]) and r.id >= $3 and r.id <= $4 and ${isEnded('r', '$5')}
    and not exists (select from waits w where w.kind = 'run' and w.awaited_run_id = r.id offset 0)
    and not exists (select from dead_letters d where d.run_id = r.id and d.replayed_at is null offset 0)
    and not exists (select from runs j where j.id = r.joined_run_id and ${isLive('j')} offset 0)
    and not exists (
      select from steps s cross join lateral (select status from runs where runs.id = s.run_id offset 0) p
      where s.environment_id = $1 and s.awaited_run_id = r.id and ${isLive('p')} offset 0)
    and not exists (select from repeating where repeating.rerun_of = r.id offset 0)
  order by r.id for update of r skip locked`,
};

const lettersStatement: Statement = {
  name: 'letters_of_runs',
  text: 'delete from dead_letters where run_id = any($1::uuid[]) and environment_id = $2',
};

// The runs of an event have its milliseconds. One that repeats a run for a letter stays as long as the letter, which would repeat it again.
const eventsStatement: Statement = {
  name: 'events_beyond_age',
  text: `with page as materialized (
    select id, received_at, rerun_of from events where environment_id = $1 and id > $2 and id < $3 order by id limit $4
  ), gone as (
    delete from events where environment_id = $1 and id > $2 and id < $3 and id = any(array(
      select page.id from page
      where received_at < to_timestamp($5::float8 / 1000)
        and not exists (select from unrouted_events u where u.event_id = page.id offset 0)
        and not exists (select from awaited_events a where a.event_id = page.id offset 0)
        and not exists (select from dead_letters d where d.run_id = page.rerun_of offset 0)
        and not exists (
          select from runs r where r.event_id = page.id
            and r.id >= (left(page.id::text, 13) || '-7000-8000-000000000000')::uuid
            and r.id <= (left(page.id::text, 13) || '-7fff-bfff-ffffffffffff')::uuid offset 0)))
    returning 1
  )
  select (select count(*)::int from page) as read, (select count(*)::int from gone) as removed,
    (select id from page order by id desc limit 1) as last`,
};

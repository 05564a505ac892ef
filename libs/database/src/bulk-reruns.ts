/**
 * Many at once: pages of the runs that a filter finds, to be repeated, and of stored events, to be given to one function. The
 * newest first, so that what is started meanwhile is never come to; a page ends early when its payloads get large.
 */
import { IronflowError, messageOf } from '@ironflow/errors';
import type { RunStatus } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { cutPage, pageBytesMax, pageWindow } from './page.js';
import type { PageQuery, PageRow } from './page.js';
import type { RunToRepeat } from './reruns.js';

export interface RunsToRepeatQuery extends PageQuery {
  status: RunStatus;
  functionId?: string | undefined;
}

export interface EventsToReplayQuery extends PageQuery {
  name: string;
}

export type EventToReplay = RunToRepeat['event'];

/** One without an event is not repeated: it has outlived that. */
export type FoundRun = Pick<RunToRepeat, 'id' | 'functionId'> & { event?: EventToReplay };

export interface Page<Item> {
  items: Item[];
  nextCursor?: string;
}

export async function runsToRepeat(
  database: Database,
  environmentId: string,
  query: RunsToRepeatQuery,
): Promise<Page<FoundRun>> {
  const rows = await read<FoundRunRow>(database, environmentId, {
    statement: query.functionId === undefined ? runsStatement : runsOfFunctionStatement,
    query,
    filters: [query.status, ...(query.functionId === undefined ? [] : [query.functionId])],
  });
  return toPage(rows, query.limit, (row) => ({
    id: row.id,
    functionId: row.function_id,
    ...(row.event_id === null ? {} : { event: toEvent(row.event_id, row) }),
  }));
}

/** Those that were for all functions: what was for one is not another's. */
export async function eventsToReplay(
  database: Database,
  environmentId: string,
  query: EventsToReplayQuery,
): Promise<Page<EventToReplay>> {
  const rows = await read<PageRow & EventFields>(database, environmentId, {
    statement: eventsStatement,
    query,
    filters: [query.name],
  });
  return toPage(rows, query.limit, (row) => toEvent(row.id, row));
}

/** Up to `query.limit`. */
export async function countRunsToRepeat(
  database: Database,
  environmentId: string,
  query: RunsToRepeatQuery,
): Promise<number> {
  const { status, functionId } = query;
  return functionId === undefined
    ? count(database, environmentId, { statement: countRunsStatement, query, filters: [status] })
    : count(database, environmentId, {
        statement: countRunsOfFunctionStatement,
        query,
        filters: [status, functionId],
      });
}

/** Up to `query.limit`. */
export async function countEventsToReplay(
  database: Database,
  environmentId: string,
  query: EventsToReplayQuery,
): Promise<number> {
  return count(database, environmentId, { statement: countEventsStatement, query, filters: [query.name] });
}

interface Reading {
  statement: Statement;
  query: PageQuery;
  filters: string[];
}

function read<Row>(
  database: Database,
  environmentId: string,
  { statement, query, filters }: Reading,
): Promise<Row[]> {
  const { lowest, end } = pageWindow(query);
  const values = [environmentId, lowest, end, query.limit + 1, pageBytesMax, ...filters];
  return briefly(database, environmentId, (transaction) => transaction.query<Row>(statement, values));
}

async function count(
  database: Database,
  environmentId: string,
  { statement, query, filters }: Reading,
): Promise<number> {
  const { lowest, end } = pageWindow(query);
  const [row] = await briefly(database, environmentId, (transaction) =>
    transaction.query<{ count: number }>(statement, [environmentId, lowest, end, query.limit, ...filters]),
  );
  return row!.count;
}

/** A filter that few rows of a long history fit reads all of it: the time between is to be given closer then. */
export async function briefly<T>(
  database: Database,
  environmentId: string,
  work: (transaction: Queryable) => Promise<T>,
): Promise<T> {
  try {
    return await database.inEnvironment(environmentId, async (transaction) => {
      await transaction.query({ name: '', text: "set local statement_timeout = '5s'" }, []);
      return work(transaction);
    });
  } catch (error) {
    if (!/statement timeout/.test(messageOf(error))) throw error;
    const rule = 'takes too long to look through: give a shorter time with from and to';
    throw new IronflowError('invalid', 'filter_too_wide', rule, { field: 'from', cause: error });
  }
}

function toPage<Row extends PageRow, Item>(
  rows: readonly Row[],
  limit: number,
  toItem: (row: Row) => Item,
): Page<Item> {
  const page = cutPage(rows, limit);
  return {
    items: page.rows.map(toItem),
    ...(page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor }),
  };
}

interface EventFields {
  name: string;
  data: string;
  version: string | null;
  correlation_id: string;
}

interface FoundRunRow extends PageRow, EventFields {
  function_id: string;
  event_id: string | null;
}

function toEvent(id: string, row: EventFields): EventToReplay {
  const version = row.version === null ? {} : { version: row.version };
  return { id, name: row.name, data: row.data, ...version, correlationId: row.correlation_id };
}

const beyond = (data: string): string => `coalesce(sum(octet_length(${data})) over (
    order by id desc rows between unbounded preceding and 1 preceding), 0) > $5 as beyond`;
const within = 'environment_id = $1 and id >= $2 and id < $3';

const runsText = (condition: string): string => `select id, function_id, event_id, name,
    case when not beyond then data end as data, version, correlation_id, beyond
  from (
    select *, ${beyond('data')} from (
      select r.id, r.function_id, e.id as event_id, e.name, e.data::text as data, e.version, e.correlation_id
      from (
        select id, event_id, function_id from runs where ${within} and status = $6 ${condition}
        order by id desc limit $4
      ) r
      left join lateral (
        select id, name, data, version, correlation_id from events
        where events.id = r.event_id and events.environment_id = $1 offset 0
      ) e on true
    ) found
  ) measured order by id desc`;
const runsStatement: Statement = { name: 'runs_to_repeat', text: runsText('') };
const runsOfFunctionStatement: Statement = {
  name: 'runs_of_function_to_repeat',
  text: runsText('and function_id = $7'),
};

const eventsStatement: Statement = {
  name: 'events_to_replay',
  text: `select id, name, case when not beyond then data end as data, version, correlation_id, beyond
    from (
      select *, ${beyond('data')} from (
        select id, name, data::text as data, version, correlation_id from events
        where ${within} and name = $6 and function_id is null order by id desc limit $4
      ) found
    ) measured order by id desc`,
};

const countText = (from: string): string =>
  `select count(*)::int as count from (select 1 from ${from} limit $4) found`;
const countRunsStatement: Statement = {
  name: 'count_runs_to_repeat',
  text: countText(`runs where ${within} and status = $5`),
};
const countRunsOfFunctionStatement: Statement = {
  name: 'count_runs_of_function_to_repeat',
  text: countText(`runs where ${within} and status = $5 and function_id = $6`),
};
const countEventsStatement: Statement = {
  name: 'count_events_to_replay',
  text: countText(`events where ${within} and name = $5 and function_id is null`),
};

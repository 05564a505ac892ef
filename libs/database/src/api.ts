/**
 * What the API reads for a tenant: always within the environment, which row-level security enforces once
 * more. Lists are keyset pages over ids, each filter with an index of its own, so that they stay quick at a
 * million runs; a page ends early when its payloads get large.
 */
import type {
  App,
  CancelRunsBody,
  DeadLetterDetail,
  DeadLettersPage,
  DeadLettersQuery,
  EnvironmentResource,
  EventDetail,
  EventsPage,
  EventsQuery,
  FunctionResource,
  Queue,
  QueueSummary,
  RunDetail,
  RunLogsPage,
  RunLogsQuery,
  RunsPage,
  RunsQuery,
  RunUpdate,
  ScheduledEventsPage,
  ScheduledEventsQuery,
} from '@ironflow/schema';
import { limits } from '@ironflow/schema';
import { countRunsToStop, requestStops } from './bulk-stops.js';
import type { RunToStop } from './bulk-stops.js';
import type { Database, Queryable, Statement } from './database.js';
import { discardDeadLetter, getDeadLetter, listDeadLetters } from './dead-letters.js';
import { scopeColumns } from './environment-scope.js';
import { intersect, windowsAround } from './id-windows.js';
import type { IdWindow } from './id-windows.js';
import { cutPage, pageBytesMax, pageWindow } from './page.js';
import type { PageRow } from './page.js';
import { listQueues, readQueue } from './queues.js';
import { toApp, toEnvironment, toEvent, toFunction, toRun, toRunResult } from './resource-rows.js';
import type { AppRow, EnvironmentRow, EventRow, FunctionRow, RunResultRow, RunRow } from './resource-rows.js';
import {
  readRun,
  readRunUpdate,
  requestStop,
  resultColumns,
  runFacts,
  runLookups,
  unpin,
} from './run-detail.js';
import type { StopAnswer, UnpinAnswer } from './run-detail.js';
import { readLogLines } from './run-logs.js';
import { cancelScheduledEvent, listScheduledEvents } from './scheduled-events.js';
import { queuedColumn } from './waiting-runs.js';

export interface ApiStore {
  listRuns(environmentId: string, query: RunsQuery): Promise<RunsPage>;
  getRun(environmentId: string, runId: string): Promise<RunDetail | undefined>;
  /** What its logger wrote; `undefined` if there is no such run. Throws `cursor_invalid`. */
  listRunLogs(environmentId: string, runId: string, query: RunLogsQuery): Promise<RunLogsPage | undefined>;
  /** Unless an activation of it may be under way. */
  unpin(environmentId: string, runId: string): Promise<UnpinAnswer>;
  /** For who watches it: outputs of steps are not even read. */
  getRunUpdate(environmentId: string, runId: string): Promise<RunUpdate | undefined>;
  /** Stores the wish and wakes the run; a second time it changes nothing. */
  requestStop(environmentId: string, runId: string): Promise<StopAnswer>;
  /** Those that a filter finds; answers whom to tell, and whether these were all. */
  requestStops(
    environmentId: string,
    filter: CancelRunsBody,
  ): Promise<{ runs: RunToStop[]; isComplete: boolean }>;
  /** Up to `limits.bulkCountMax`. */
  countRunsToStop(environmentId: string, filter: CancelRunsBody): Promise<number>;
  /** Kept until the run takes it; a second time, by its id, it changes nothing. */
  sendSignal(environmentId: string, signal: NewSignal): Promise<SignalOutcome>;
  listEvents(environmentId: string, query: EventsQuery): Promise<EventsPage>;
  getEvent(environmentId: string, eventId: string): Promise<EventDetail | undefined>;
  /** Archived ones included. */
  listFunctions(environmentId: string): Promise<FunctionResource[]>;
  getFunction(environmentId: string, functionId: string): Promise<FunctionResource | undefined>;
  getEnvironment(environmentId: string): Promise<EnvironmentResource | undefined>;
  /** Of functions with runs that wait, or that are paused. */
  listQueues(environmentId: string): Promise<QueueSummary[]>;
  getQueue(environmentId: string, functionId: string): Promise<Queue | undefined>;
  listApps(environmentId: string): Promise<App[]>;
  listDeadLetters(environmentId: string, query: DeadLettersQuery): Promise<DeadLettersPage>;
  getDeadLetter(environmentId: string, letterId: string): Promise<DeadLetterDetail | undefined>;
  /** Whether there was one. */
  discardDeadLetter(environmentId: string, letterId: string): Promise<boolean>;
  /** Events that are not due yet, the next one first. */
  listScheduledEvents(environmentId: string, query: ScheduledEventsQuery): Promise<ScheduledEventsPage>;
  /** Whether there was one. */
  cancelScheduledEvent(environmentId: string, eventId: string): Promise<boolean>;
}

export interface NewSignal {
  runId: string;
  id: string;
  name: string;
  /** JSON text. */
  data: string | undefined;
}

export type SignalOutcome =
  | 'sent'
  | 'not_found'
  | 'ended'
  /** `limits.signalsPerRunMax` of them wait to be taken. */
  | 'too_many';

export function createApiStore(database: Database): ApiStore {
  const list = <Row>(environmentId: string, statement: Statement, values: unknown[] = []): Promise<Row[]> =>
    database.inEnvironment(environmentId, (transaction) =>
      transaction.query<Row>(statement, [environmentId, ...values]),
    );
  return {
    listRuns: async (environmentId, query) => {
      const { statement, values } = runsList(query);
      const page = cutPage(await list<RunRow & PageRow>(environmentId, statement, values), query.limit);
      return { runs: page.rows.map(toRun), ...cursorOf(page) };
    },
    getRun: (environmentId, runId) =>
      database.inEnvironment(environmentId, (transaction) => readRun(transaction, environmentId, runId)),
    listRunLogs: (environmentId, runId, query) =>
      database.inEnvironment(environmentId, (transaction) =>
        readLogLines(transaction, { environmentId, runId }, query),
      ),
    getRunUpdate: (environmentId, runId) =>
      database.inEnvironment(environmentId, (transaction) =>
        readRunUpdate(transaction, environmentId, runId),
      ),
    requestStop: (environmentId, runId) =>
      database.inEnvironment(environmentId, (transaction) => requestStop(transaction, environmentId, runId)),
    unpin: (environmentId, runId) =>
      database.inEnvironment(environmentId, (transaction) => unpin(transaction, environmentId, runId)),
    requestStops: (environmentId, filter) =>
      database.inEnvironment(environmentId, (transaction) =>
        requestStops(transaction, environmentId, filter),
      ),
    countRunsToStop: (environmentId, filter) =>
      database.inEnvironment(environmentId, (transaction) =>
        countRunsToStop(transaction, environmentId, { filter, max: limits.bulkCountMax }),
      ),
    sendSignal: (environmentId, { runId, id, name, data }) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const values = [runId, id, name, data ?? null, limits.signalsPerRunMax];
        const rows = await transaction.query<{ outcome: SignalOutcome }>(signalStatement, values);
        return rows[0]!.outcome;
      }),
    listEvents: async (environmentId, query) => {
      const { statement, values } = eventsList(query);
      const page = cutPage(await list<EventRow & PageRow>(environmentId, statement, values), query.limit);
      return { events: page.rows.map(toEvent), ...cursorOf(page) };
    },
    getEvent: (environmentId, eventId) =>
      database.inEnvironment(environmentId, (transaction) => readEvent(transaction, environmentId, eventId)),
    listFunctions: async (environmentId) =>
      (await list<FunctionRow>(environmentId, functionsStatement)).map(toFunction),
    getFunction: async (environmentId, functionId) => {
      const [row] = await list<FunctionRow>(environmentId, functionStatement, [functionId]);
      return row && toFunction(row);
    },
    getEnvironment: async (environmentId) => {
      const [row] = await list<EnvironmentRow>(environmentId, environmentStatement);
      return row && toEnvironment(row);
    },
    listQueues: (environmentId) =>
      database.inEnvironment(environmentId, (transaction) => listQueues(transaction, environmentId)),
    getQueue: (environmentId, functionId) =>
      database.inEnvironment(environmentId, (transaction) =>
        readQueue(transaction, environmentId, functionId),
      ),
    listApps: async (environmentId) => (await list<AppRow>(environmentId, appsStatement)).map(toApp),
    listDeadLetters: (environmentId, query) => listDeadLetters(database, environmentId, query),
    getDeadLetter: (environmentId, letterId) => getDeadLetter(database, environmentId, letterId),
    discardDeadLetter: (environmentId, letterId) => discardDeadLetter(database, environmentId, letterId),
    listScheduledEvents: (environmentId, query) => listScheduledEvents(database, environmentId, query),
    cancelScheduledEvent: (environmentId, eventId) => cancelScheduledEvent(database, environmentId, eventId),
  };
}

function cursorOf(page: { nextCursor?: string }): { nextCursor?: string } {
  return page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor };
}

interface List {
  statement: Statement;
  /** After the environment, which is $1. */
  values: unknown[];
}

interface ListParts {
  name: string;
  columns: string;
  /** The column that may be large: left out of the rows beyond the page's bytes. */
  payload: string;
  table: 'runs' | 'events';
  window: IdWindow;
  limit: number;
  filters: { column: string; value: string | undefined }[];
}

/** A text for every combination of filters: one plan cannot serve a filter that may be absent. */
function listOf(parts: ListParts): List {
  const { columns, payload } = parts;
  const given = parts.filters.filter((filter) => filter.value !== undefined);
  const conditions = given.map(({ column }, index) => `and ${column} = $${index + 6}`);
  const page = `select ${columns}, ${payload} from ${parts.table}
    where environment_id = $1 and id >= $2 and id < $3 ${conditions.join(' ')}
    order by id desc limit $4`;
  const measured = `select *, coalesce(sum(octet_length(${payload}::text)) over (
      order by id desc rows between unbounded preceding and 1 preceding), 0) > $5 as beyond from (${page}) p`;
  const text = `select ${columns}, case when not beyond then ${payload}::text end as ${payload}, beyond
    from (${measured}) m order by id desc`;
  const { lowest, end } = parts.window;
  return {
    statement: { name: [parts.name, ...given.map(({ column }) => column)].join('_'), text },
    values: [lowest, end, parts.limit + 1, pageBytesMax, ...given.map(({ value }) => value)],
  };
}

const eventFacts = 'id, name, version, source, correlation_id, causation_id, received_at';
function runsList(query: RunsQuery): List {
  const page = pageWindow(query);
  const { statement, values } = listOf({
    name: 'list_runs',
    columns: `${runFacts}, journal_seq`,
    payload: 'output',
    table: 'runs',
    // Runs of an event have its time: looking only there makes an index by event unnecessary.
    window: query.event === undefined ? page : intersect(page, windowsAround([query.event])[0]!),
    limit: query.limit,
    filters: [
      { column: 'status', value: query.status },
      { column: 'function_id', value: query.function },
      { column: 'correlation_id', value: query.correlation },
      { column: 'event_id', value: query.event },
    ],
  });
  const text = `select r.*, ${runLookups}, ${queuedColumn('r')} from (${statement.text}) r order by r.id desc`;
  return { statement: { name: statement.name, text }, values };
}

function eventsList(query: EventsQuery): List {
  return listOf({
    name: 'list_events',
    columns: eventFacts,
    payload: 'data',
    table: 'events',
    window: pageWindow(query),
    limit: query.limit,
    filters: [
      { column: 'name', value: query.name },
      { column: 'correlation_id', value: query.correlation },
    ],
  });
}

const signalStatement: Statement = {
  name: 'send_signal',
  text: 'select send_signal($1, $2, $3, $4, $5) as outcome',
};
const eventStatement: Statement = {
  name: 'event_detail',
  text: `select ${eventFacts}, data::text from events where environment_id = $1 and id = $2`,
};

async function readEvent(
  transaction: Queryable,
  environmentId: string,
  eventId: string,
): Promise<EventDetail | undefined> {
  const [event] = await transaction.query<EventRow>(eventStatement, [environmentId, eventId]);
  if (event === undefined) return undefined;
  const [window] = windowsAround([eventId]);
  const runs = await transaction.query<RunResultRow>(runsOfEventStatement, [
    environmentId,
    window!.lowest,
    window!.end,
    eventId,
  ]);
  return { ...toEvent(event), runs: runs.map(toRunResult) };
}

const runsOfEventStatement: Statement = {
  name: 'runs_of_event',
  text: `select ${resultColumns} from runs
    where environment_id = $1 and id >= $2 and id < $3 and event_id = $4 order by id`,
};
const environmentStatement: Statement = {
  name: 'environment',
  text: `select ${scopeColumns}, e.paused_at from environments e where e.id = $1`,
};
const functionsFrom = `select f.config, f.app_id, a.mode, f.hash, f.status, f.registered_at, f.paused_at, f.concurrency_limit
    from functions f join apps a on a.environment_id = f.environment_id and a.id = f.app_id
    where f.environment_id = $1`;
const functionsStatement: Statement = { name: 'list_functions', text: `${functionsFrom} order by f.id` };
const functionStatement: Statement = { name: 'function', text: `${functionsFrom} and f.id = $2` };
/** The same words as the predicate of the index runs_pinned. */
const pinnedAndLive =
  "build_id is not null and status in ('queued', 'running', 'waiting', 'waiting_for_worker')";
// From build to build, so that it reads no more runs of any than are counted.
const appsStatement: Statement = {
  name: 'list_apps',
  text: `with recursive builds as (
      (select app_id, build_id from runs where environment_id = $1 and ${pinnedAndLive}
        order by app_id, build_id limit 1)
    union all
      select next.app_id, next.build_id from builds cross join lateral (
        select app_id, build_id from runs where environment_id = $1 and ${pinnedAndLive}
          and (app_id, build_id) > (builds.app_id, builds.build_id)
        order by app_id, build_id limit 1
      ) next
  )
  select a.id, a.mode, a.url, a.sdk, a.signed_answers, a.registered_at, (
      select count(*)::int from functions f
      where f.environment_id = a.environment_id and f.app_id = a.id and f.status = 'active'
    ) as functions, coalesce((
      select json_agg(json_build_object('id', b.build_id, 'runs', n.runs, 'waitingForWorker', n.waiting)
        order by b.build_id)
      from builds b cross join lateral (
        select count(*)::int as runs, (count(*) filter (where status = 'waiting_for_worker'))::int as waiting
        from (select status from runs where environment_id = $1 and app_id = b.app_id
          and build_id = b.build_id and ${pinnedAndLive} limit ${limits.buildRunsCountMax}) counted
      ) n where b.app_id = a.id
    ), '[]') as builds
    from apps a where a.environment_id = $1 order by a.id`,
};

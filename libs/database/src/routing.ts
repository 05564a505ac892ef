/**
 * Events become runs, in one statement for a batch of both.
 *
 * 1. An event is routed by the transaction that inserts its runs, and only as matched with the registry in force.
 * 2. Rows are locked in the order of their ids.
 */
import type { FlowKeys, RunMode } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { takenOverSteps } from './reruns.js';
import { startDeadlineTimer } from './timers.js';

export interface NewRun {
  id: string;
  environmentId: string;
  eventId: string;
  appId: string;
  functionId: string;
  functionHash: string;
  mode: RunMode;
  status: 'queued' | 'waiting_for_worker' | 'skipped';
  /** The rule that skipped it. */
  skipReason?: string | undefined;
  correlationId: string;
  traceparent?: string | undefined;
  /** The run that it repeats; with `rerunFromStep`, taking over what settled before that step. */
  rerunOf?: string | undefined;
  rerunFromStep?: string | undefined;
  /** It is skipped if it has not begun by then. */
  startDeadlineMs?: number | undefined;
  /** It is activated on the lane of its environment, which has more than its neighbours are to wait for. */
  bulk?: true | undefined;
  /** It comes into the queue (flow-control.ts) instead of being activated. */
  flow?: FlowArrival | undefined;
}

export interface FlowArrival {
  keys: FlowKeys;
  /** Of its event's data. */
  bytes: number;
  receivedAtMs: number;
  /** Its place in the queue. */
  positionMs: number;
}

export interface EventToRoute {
  id: string;
  environmentId: string;
  /** Its name, unless it is for one function alone: then it answers nobody's wait. */
  awaitedAs: string | undefined;
  /** Functions of the environment have their runs cancelled by events of that name. */
  cancels: boolean;
  /** The version of the registry that its runs were matched with. */
  registryVersion: number;
}

export interface RoutingOutcome {
  routed: string[];
  /** Of the routed ones, those that may answer a run's wait or cancel a run: to be matched with them. */
  awaited: string[];
  /** Matched with another version than the one in force: to be matched again. */
  stale: string[];
  /** Routed before, or unknown. */
  settled: string[];
}

export async function routeEvents(
  database: Database,
  events: readonly EventToRoute[],
  runs: readonly NewRun[],
): Promise<RoutingOutcome> {
  if (events.length === 0) return { routed: [], awaited: [], stale: [], settled: [] };
  const column = <T>(pick: (run: NewRun) => T): T[] => runs.map(pick);
  const isOrdinary = runs.every(
    (run) => (run.rerunOf ?? run.startDeadlineMs ?? run.flow ?? run.bulk) === undefined,
  );
  const rows = await database.query<RoutedRow>(isOrdinary ? routeStatement : routeAnyStatement, [
    events.map((event) => event.id),
    events.map((event) => event.environmentId),
    events.map((event) => event.registryVersion),
    column((run) => run.id),
    column((run) => run.environmentId),
    column((run) => run.eventId),
    column((run) => run.appId),
    column((run) => run.functionId),
    column((run) => run.functionHash),
    column((run) => run.mode),
    column((run) => run.status),
    column((run) => run.skipReason ?? null),
    column((run) => run.correlationId),
    column((run) => run.traceparent ?? null),
    events.map((event) => event.awaitedAs ?? null),
    events.map((event) => event.cancels),
    ...(isOrdinary
      ? []
      : [
          column((run) => run.rerunOf ?? null),
          column((run) => run.rerunFromStep ?? null),
          column((run) => run.startDeadlineMs ?? null),
          column((run) => (run.flow === undefined ? null : JSON.stringify(run.flow.keys))),
          column((run) => run.flow?.bytes ?? null),
          column((run) => run.flow?.receivedAtMs ?? null),
          column((run) => run.flow?.positionMs ?? null),
          column((run) => run.bulk ?? false),
        ]),
  ]);
  const current = new Map(rows.map((row) => [row.event_id, row.current]));
  const awaited = rows.filter((row) => row.awaited).map((row) => row.event_id);
  const outcome: RoutingOutcome = { routed: [], awaited, stale: [], settled: [] };
  for (const { id } of events) {
    const found = current.get(id);
    outcome[found === undefined ? 'settled' : found ? 'routed' : 'stale'].push(id);
  }
  return outcome;
}

/** Runs that repeat others, have to begin in time, are queued or are of a flood are few: the statement of batches without one does not know of them. */
function routeStatementFor(batches: 'ordinary' | 'any'): Statement {
  const isOrdinary = batches === 'ordinary';
  const rareColumns = isOrdinary ? '' : ', rerun_of, limited, bulk';
  const isLimited = isOrdinary ? 'false' : 'n.flow_keys is not null';
  return {
    name: isOrdinary ? 'route_events' : 'route_any',
    text: `with locked as materialized (
    select u.event_id, e.registry_version = g.version as current
    from unrouted_events u
    join unnest($1::uuid[], $2::uuid[], $3::int[]) as g (event_id, environment_id, version)
      on g.event_id = u.event_id and g.environment_id = u.environment_id
    join environments e on e.id = u.environment_id
    where u.event_id = any($1::uuid[])
    order by u.event_id for update of u
  ), routed as (
    delete from unrouted_events where event_id in (select event_id from locked where current)
    returning event_id
  ), awaited as (
    insert into awaited_events (event_id, environment_id)
    select n.event_id, n.environment_id from routed
    join unnest($1::uuid[], $2::uuid[], $15::text[], $16::boolean[])
      as n (event_id, environment_id, name, cancels) on n.event_id = routed.event_id
    where n.cancels or exists (
      select from waits where kind = 'event' and environment_id = n.environment_id and name = n.name)
    returning event_id
  ), inserted as (
    insert into runs (id, environment_id, event_id, app_id, function_id, function_hash, mode, status,
      skip_reason,
      correlation_id, traceparent, wake, ended_at${rareColumns})
    select n.id, n.environment_id, n.event_id, n.app_id, n.function_id, n.function_hash, n.mode, n.status,
      n.skip_reason, n.correlation_id, n.traceparent,
      case when n.status = 'skipped' or ${isLimited} then 0 else 1 end,
      case when n.status = 'skipped' then now() end${isOrdinary ? '' : ', n.rerun_of, n.flow_keys is not null, n.bulk'}
    from unnest($4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[],
      $11::text[],
      $12::text[], $13::text[], $14::text[]${isOrdinary ? '' : ', $17::uuid[], $20::text[], $24::boolean[]'})
      as n (id, environment_id, event_id, app_id, function_id, function_hash, mode, status, skip_reason,
        correlation_id, traceparent${isOrdinary ? '' : ', rerun_of, flow_keys, bulk'})
    join routed on routed.event_id = n.event_id
    on conflict (id) do nothing${isOrdinary ? '' : takingOver + armingDeadlines + enqueuing}
  )
  select l.event_id, current, a.event_id is not null as awaited
  from locked l left join awaited a on a.event_id = l.event_id`,
  };
}

const takingOver = `
    returning id, environment_id, event_id, function_id, rerun_of, created_at
  ), repeating as (
    select i.*, n.from_step from inserted i join unnest($4::uuid[], $18::text[]) as n (id, from_step) on n.id = i.id
    where n.from_step is not null
  ), taken_over as (
    insert into steps (run_id, step_id, attempt, environment_id, name, type, status, output, error, started_at,
      ended_at, due_at, settle_order)
    ${takenOverSteps}`;

const armingDeadlines = `
  ), armed as (
    insert into timers (run_id, step_id, attempt, environment_id, due_at)
    select i.id, '${startDeadlineTimer}', 0, i.environment_id, i.created_at + n.deadline_ms * interval '1 ms'
    from inserted i join unnest($4::uuid[], $19::float8[]) as n (id, deadline_ms) on n.id = i.id
    where n.deadline_ms is not null`;

const enqueuing = `
  ), enqueued as (
    insert into queue_entries (run_id, environment_id, event_id, function_id, state, keys, bytes, received_at, position)
    select i.id, i.environment_id, i.event_id, i.function_id, 'arrived', n.keys::json, n.bytes,
      to_timestamp(n.received_at_ms / 1000), to_timestamp(n.position_ms / 1000)
    from inserted i
    join unnest($4::uuid[], $20::text[], $21::int[], $22::float8[], $23::float8[])
      as n (id, keys, bytes, received_at_ms, position_ms) on n.id = i.id
    where n.keys is not null`;

const routeStatement = routeStatementFor('ordinary');
const routeAnyStatement = routeStatementFor('any');

interface RoutedRow {
  event_id: string;
  current: boolean;
  awaited: boolean;
}

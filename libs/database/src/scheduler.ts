/**
 * What the scheduler decides in PostgreSQL: runs rest for want of a worker and are released, and what may have been forgotten
 * is found again. How events become runs is in routing.ts, timers are in timers.ts, waits in waits.ts and runs that are to stop in
 * stopping-runs.ts, which this store offers as its own. Rows are locked in the order of their ids, or else those that
 * somebody else holds are passed over.
 */
import type { DeadLetter, Lane, Scope, StoredEvent } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { removeExpiredLetters, storeDeadLetters } from './dead-letters.js';
import { boundsOf, lowestId, windowsAround } from './id-windows.js';
import { routeEvents } from './routing.js';
import type { EventToRoute, NewRun, RoutingOutcome } from './routing.js';
import { laneBuildOf, laneColumnOf, runToActivate, scopeColumns } from './run-to-activate.js';
import type { RunToActivate, RunToActivateRow } from './run-to-activate.js';
import { moveDueEvents, nextEventDueInMs } from './scheduled-events.js';
import { readScopes } from './scopes.js';
import {
  endStopped,
  hasCompensations,
  requestStopOf,
  runsToCancel,
  startExpired,
  stoppingRuns,
} from './stopping-runs.js';
import type { RunsToCancelQuery, RunToCancel, StoppedRun, StoppingRun } from './stopping-runs.js';
import { toStoredEvent } from './stored-event.js';
import type { StoredEventRow } from './stored-event.js';
import { endCircuitWaits, fireTimers, nextDueInMs } from './timers.js';
import type { CircuitWaitsQuery, FiredTimers } from './timers.js';
import { createWaitStore } from './waits.js';
import type { WaitStore } from './waits.js';
import { removeOldDeliveries } from './webhook-deliveries.js';

export type OverdueRun = RunToActivate & { wokenAtMs: number };

export interface OverdueRunsQuery {
  olderThanMs: number;
  /** Those of floods, many of which only wait for their turn, or all others. */
  isBulk: boolean;
  after?: { wokenAtMs: number; runId: string } | undefined;
  limit: number;
}

export interface UnroutedEventsQuery {
  olderThanMs: number;
  after?: { receivedAtMs: number; id: string } | undefined;
  limit: number;
}

/** A lane of an environment's app. */
export interface LaneRef extends Lane {
  environmentId: string;
}

export interface SchedulerStore extends WaitStore {
  routeEvents(events: readonly EventToRoute[], runs: readonly NewRun[]): Promise<RoutingOutcome>;
  /** Stored longer ago than that and not routed, the oldest first: their message was lost. */
  unroutedEvents(query: UnroutedEventsQuery): Promise<StoredEvent[]>;
  /** How long the oldest one has waited; 0 when there is none. */
  unroutedAgeMs(): Promise<number>;
  /** Of these, the ones that are not routed yet. */
  unroutedAmong(eventIds: readonly string[]): Promise<StoredEvent[]>;
  /** Those of the events' runs that need an activation. */
  runsOfEvents(eventIds: readonly string[]): Promise<RunToActivate[]>;
  /** Runs that need an activation and were woken longer ago than that, the longest first. */
  overdueRuns(query: OverdueRunsQuery): Promise<OverdueRun[]>;
  /**
   * Queued runs of an app without a worker; answers those that it put to rest. Runs that were asked to stop rest only if they
   * have something to undo, and those that are too late to begin do not.
   */
  restForWorker(runIds: readonly string[]): Promise<string[]>;
  runsToCancel(query: RunsToCancelQuery): Promise<RunToCancel[]>;
  /** Stores the wish and wakes the runs; answers those that nobody had asked before. */
  requestStopOf(runIds: readonly string[]): Promise<RunToActivate[]>;
  /** Of these, the ones that were asked to stop, or are too late to begin, and that nobody drives, as far as Postgres knows. */
  stoppingRuns(runIds: readonly string[]): Promise<StoppingRun[]>;
  /** Ends them as cancelled or skipped, unless they have moved on since; answers those it ended. */
  endStopped(runs: readonly Pick<StoppingRun, 'runId' | 'journalSeq'>[]): Promise<Map<string, StoppedRun>>;
  /** The reverse, as workers of a lane come: resumed runs before new ones, the oldest first. */
  releaseForWorker(lane: LaneRef, limit: number): Promise<RunToActivate[]>;
  /** The lanes of runs that rest. */
  waitingForWorker(): Promise<LaneRef[]>;
  /** Wakes the runs of timers that are due. */
  fireTimers(limit: number): Promise<FiredTimers>;
  /** Negative when one is overdue. */
  nextDueInMs(): Promise<number | undefined>;
  /** Makes the timers of runs due that wait for the breaker of a function, in pages; answers the runs of the page. */
  endCircuitWaits(query: CircuitWaitsQuery): Promise<string[]>;
  /** Stores events that were to come later and are due; answers them, to be routed. */
  moveDueEvents(limit: number): Promise<StoredEvent[]>;
  nextEventDueInMs(): Promise<number | undefined>;
  /** Removes idempotency keys that hold no more; answers how many. */
  removeExpiredKeys(limit: number): Promise<number>;
  /** The same of dead letters that are 30 days old. */
  removeExpiredLetters(limit: number): Promise<number>;
  /** Of the log of webhooks, what is no longer kept. */
  removeOldDeliveries(limit: number): Promise<number>;
  /** Links of runs that have ended; signals, waits and outputs that came at that moment or on a branch. Answers how many. */
  removeLeftBehind(limit: number): Promise<number>;
  /** What rules of flow control remembered and need no more. Answers how many. */
  removeExpiredFlow(limit: number): Promise<number>;
  /** Each once, by its id. */
  storeDeadLetters(letters: readonly DeadLetter[]): Promise<void>;
  /** Those that do not exist are missing. */
  scopes(environmentIds: readonly string[]): Promise<Map<string, Scope>>;
  withAdvisoryLock<T>(name: string, work: () => Promise<T>): Promise<T | undefined>;
}

export function createSchedulerStore(database: Database): SchedulerStore {
  return {
    ...createWaitStore(database),
    routeEvents: (events, runs) => routeEvents(database, events, runs),
    unroutedEvents: async ({ olderThanMs, after, limit }) => {
      const rows = await database.query<StoredEventRow>(unroutedStatement, [
        olderThanMs,
        after?.receivedAtMs ?? 0,
        after?.id ?? lowestId,
        limit,
      ]);
      return rows.map(toStoredEvent);
    },
    unroutedAgeMs: async () => {
      const rows = await database.query<{ age_ms: number }>(unroutedAgeStatement, []);
      return rows[0]!.age_ms;
    },
    unroutedAmong: async (eventIds) =>
      (await database.query<StoredEventRow>(unroutedAmongStatement, [eventIds])).map(toStoredEvent),
    runsOfEvents: async (eventIds) => {
      const windows = windowsAround(eventIds);
      const rows = await database.query<RunToActivateRow>(runsOfEventsStatement, [
        windows.map((window) => window.lowest),
        windows.map((window) => window.end),
        eventIds,
      ]);
      return rows.map(runToActivate);
    },
    overdueRuns: async ({ olderThanMs, isBulk, after, limit }) => {
      const rows = await database.query<RunToActivateRow & { woken_at_ms: number }>(overdueStatement, [
        olderThanMs,
        after?.wokenAtMs ?? 0,
        after?.runId ?? lowestId,
        limit,
        isBulk,
      ]);
      return rows.map((row) => ({ ...runToActivate(row), wokenAtMs: row.woken_at_ms }));
    },
    restForWorker: async (runIds) => {
      const { lowest, highest } = boundsOf(runIds);
      const rows = await database.query<{ id: string }>(restStatement, [runIds, lowest, highest]);
      return rows.map((row) => row.id);
    },
    runsToCancel: (query) => runsToCancel(database, query),
    requestStopOf: (runIds) => requestStopOf(database, runIds),
    stoppingRuns: (runIds) => stoppingRuns(database, runIds),
    endStopped: (runs) => endStopped(database, runs),
    releaseForWorker: async ({ environmentId, appId, buildId = '' }, limit) => {
      const values = [environmentId, appId, buildId, limit];
      const rows = await database.query<RunToActivateRow>(releaseStatement, values);
      return rows.map(runToActivate);
    },
    waitingForWorker: async () => {
      const rows = await database.query<LaneRow>(waitingStatement, []);
      return rows.map(({ environment_id: environmentId, app_id: appId, build_id: buildId }) => ({
        ...{ environmentId, appId },
        ...(buildId === '' ? {} : { buildId }),
      }));
    },
    fireTimers: (limit) => fireTimers(database, limit),
    nextDueInMs: () => nextDueInMs(database),
    endCircuitWaits: (query) => endCircuitWaits(database, query),
    moveDueEvents: (limit) => moveDueEvents(database, limit),
    nextEventDueInMs: () => nextEventDueInMs(database),
    removeExpiredKeys: async (limit) => (await database.query(expiredKeysStatement, [limit])).length,
    removeExpiredLetters: (limit) => removeExpiredLetters(database, limit),
    removeOldDeliveries: (limit) => removeOldDeliveries(database, limit),
    removeLeftBehind: async (limit) => (await database.query(leftBehindStatement, [limit])).length,
    removeExpiredFlow: async (limit) => (await database.query(expiredFlowStatement, [limit])).length,
    storeDeadLetters: (letters) => storeDeadLetters(database, letters),
    scopes: (environmentIds) => readScopes(database, environmentIds),
    withAdvisoryLock: (name, work) => database.withAdvisoryLock(name, work),
  };
}

const unroutedStatement: Statement = {
  name: 'unrouted_events',
  text: unroutedOf(`
      where received_at < now() - $1 * interval '1 ms'
        and (received_at, event_id) > (to_timestamp($2::float8 / 1000), $3::uuid)
      order by received_at, event_id limit $4`),
};
const unroutedAgeStatement: Statement = {
  name: 'unrouted_age',
  text: `select coalesce(greatest(0, extract(epoch from clock_timestamp() - min(received_at)) * 1000), 0)::float8 as age_ms
    from unrouted_events`,
};
const unroutedAmongStatement: Statement = {
  name: 'unrouted_among',
  text: unroutedOf('where event_id = any($1::uuid[])'),
};

function unroutedOf(condition: string): string {
  return `select v.*, ${scopeColumns},
      (extract(epoch from u.received_at) * 1000)::float8 as received_at_ms
    from (select event_id, received_at from unrouted_events ${condition}) u
    cross join lateral (
      select id, environment_id, name, data::text, version, source, correlation_id, causation_id, traceparent,
        function_id, rerun_of, rerun_from_step
      from events where id = u.event_id offset 0
    ) v
    join environments e on e.id = v.environment_id
    order by u.received_at, u.event_id`;
}

const runColumns = `r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, r.build_id, r.limited, r.bulk, ${scopeColumns}`;
/** The same words as the predicate of the partial index runs_to_activate. */
const needsActivation = `wake > served and status in ('queued', 'running', 'waiting')`;

// Whether they need an activation is asked outside, so that it cannot lure the planner away from the window.
const runsOfEventsStatement: Statement = {
  name: 'runs_of_events',
  text: `select ${runColumns} from unnest($1::uuid[], $2::uuid[]) as w (lowest, ending)
    cross join lateral (
      select id, environment_id, mode, app_id, function_id, event_id, wake, served, status, ${laneColumnOf('runs')}
      from runs
      where id >= w.lowest and id < w.ending and event_id = any($3::uuid[])
      offset 0
    ) r
    join environments e on e.id = r.environment_id
    where ${needsActivation}`,
};

const overdueStatement: Statement = {
  name: 'overdue_runs',
  text: `select ${runColumns}, (extract(epoch from r.woken_at) * 1000)::float8 as woken_at_ms from (
      select id, environment_id, mode, app_id, function_id, event_id, woken_at, ${laneColumnOf('runs')} from runs
      where ${needsActivation} and woken_at < now() - $1 * interval '1 ms'
        and (woken_at, id) > (to_timestamp($2::float8 / 1000), $3::uuid) and bulk = $5
      order by woken_at, id limit $4
    ) r
    join environments e on e.id = r.environment_id
    order by r.woken_at, r.id`,
};

const restStatement: Statement = {
  name: 'rest_for_worker',
  text: `with locked as materialized (
    select id from runs where id = any($1::uuid[]) and id >= $2 and id <= $3 and status = 'queued'
      and (stop_requested_at is null or ${hasCompensations}) and not (${startExpired})
    order by id for update
  ), rested as (
    update runs r set status = 'waiting_for_worker' from locked l
    where r.id = l.id and r.id = any($1::uuid[]) and r.id >= $2 and r.id <= $3 and r.status = 'queued'
    returning r.id, r.limited
  ), resting as (
    update queue_entries set state = 'resting'
    where run_id = any(array(select id from rested where limited)) and state = 'admitted'
  ), freed as (
    delete from slots where run_id = any(array(select id from rested where limited)) and not kept and leased_until is null
  )
  select id from rested`,
};

const releaseStatement: Statement = {
  name: 'release_for_worker',
  text: `with released as materialized (
    select id from runs
    where environment_id = $1 and app_id = $2 and coalesce(${laneBuildOf('runs')}, '') = $3
      and status = 'waiting_for_worker'
    order by (started_at is null), id limit $4 for update skip locked
  ), queued as (
    update runs r set status = 'queued', woken_at = date_trunc('milliseconds', now())
    where r.id = any(array(select id from released)) and r.status = 'waiting_for_worker'
    returning r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, r.started_at,
      ${laneColumnOf('r')}
  )
  select ${runColumns} from queued r join environments e on e.id = r.environment_id
  order by (r.started_at is null), r.id`,
};

// From lane to lane: thousands of runs may rest for each.
const waitingStatement: Statement = {
  name: 'waiting_for_worker',
  text: `with recursive lanes as (
      (select environment_id, app_id, coalesce(${laneBuildOf('runs')}, '') as build_id from runs
        where status = 'waiting_for_worker'
        order by environment_id, app_id, coalesce(${laneBuildOf('runs')}, '') limit 1)
    union all
      select next.environment_id, next.app_id, next.build_id from lanes cross join lateral (
        select environment_id, app_id, coalesce(${laneBuildOf('runs')}, '') as build_id from runs
        where status = 'waiting_for_worker'
          and (environment_id, app_id, coalesce(${laneBuildOf('runs')}, ''))
            > (lanes.environment_id, lanes.app_id, lanes.build_id)
        order by environment_id, app_id, coalesce(${laneBuildOf('runs')}, '') limit 1
      ) next
  )
  select environment_id, app_id, build_id from lanes`,
};

interface LaneRow {
  environment_id: string;
  app_id: string;
  /** Empty for the lane of all builds. */
  build_id: string;
}

const ofEndedRuns = (table: string): string => `delete from ${table} where ctid = any(array(
    select l.ctid from ${table} l cross join lateral (
      select status from runs where runs.id = l.run_id offset 0
    ) r where r.status in ('completed', 'failed', 'cancelled', 'skipped') limit $1))
  returning 1`;
const leftBehindStatement: Statement = {
  name: 'remove_left_behind',
  text: `with s as (${ofEndedRuns('signals')}), w as (${ofEndedRuns('waits')}),
      o as (${ofEndedRuns('claimed_outputs')}), l as (${ofEndedRuns('approval_links')}),
      q as (${ofEndedRuns('queue_entries')}), t as (${ofEndedRuns('slots')})
    select 1 from s union all select 1 from w union all select 1 from o union all select 1 from l
    union all select 1 from q union all select 1 from t`,
};

// What a run holds is needed as long as the run; and since it is the time of an event that decides, what is over is needed by those that
// came before it was and are decided late.
const expiredFlowStatement: Statement = {
  name: 'remove_expired_flow',
  text: `delete from flow_states where ctid = any(array(
      select f.ctid from flow_states f where expires_at < now() - interval '1 hour'
        and (rule not in ('debounce', 'batch', 'singleton')
          or not exists (select from queue_entries q where q.run_id = f.run_id))
      order by expires_at limit $1 for update skip locked))
    returning 1`,
};

const expiredKeysStatement: Statement = {
  name: 'remove_expired_keys',
  text: `delete from idempotency_keys where ctid = any(array(
      select ctid from idempotency_keys where created_at < now() - interval '24 hours'
      order by created_at limit $1 for update skip locked))
    returning 1`,
};

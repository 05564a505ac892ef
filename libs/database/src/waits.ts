/**
 * Waits of runs for something other than a time: found for those that may resolve them, and resolved. The collector adds
 * them (result-collector.ts), a timer that is due ends them unanswered (timers.ts).
 *
 * 1. Whoever finds what a wait waits for resolves it: the wait goes, its timer goes, its step is flipped and its run is
 *    woken, under the run's lock and by statements that began after it was got. Of several one resolves it.
 * 2. What was there before the wait was accepted is looked for after that commit; what comes later finds the wait. An event
 *    that is routed while somebody waits for one of its name is noted in the same transaction, and forgotten once it was
 *    matched: nobody is missed, whoever dies.
 * 3. An event resolves one wait of a run at most, and a signal is taken once.
 */
import type { Failure, StoredEvent } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { endedPauseTuple, toEndedPause } from './ended-pause.js';
import type { EndedPause, EndedPauseTuple } from './ended-pause.js';
import { boundsOf, lowestId } from './id-windows.js';
import { toOpenWait } from './open-wait.js';
import type { OpenWait, WaitRow } from './open-wait.js';
import { laneColumnOf, runToActivate, scopeColumns } from './run-to-activate.js';
import type { RunToActivate, RunToActivateRow } from './run-to-activate.js';
import { storedEventColumns, toStoredEvent } from './stored-event.js';
import type { StoredEventRow } from './stored-event.js';

export interface KeptSignal {
  runId: string;
  id: string;
  name: string;
}

export interface Resolution {
  runId: string;
  stepId: string;
  /** JSON text; that of a signal is its data, that of an awaited run what it returned. A step with an `error` has failed. */
  output?: string | undefined;
  error?: Failure | undefined;
  eventId?: string | undefined;
  signalId?: string | undefined;
}

export interface ResolvedWaits {
  /** Those that nobody had resolved before. */
  resolved: { runId: string; stepId: string }[];
  /** Runs that need an activation now. */
  woken: RunToActivate[];
  /** Of those that were resolved and whose runs are traced. */
  ended: EndedPause[];
}

export interface WaitsForEventQuery {
  environmentId: string;
  name: string;
  /** What its data has at each of the paths that waits for this name match by; those without a value are left out. */
  values: readonly { path: string; value: string }[];
  /** The last one of the page before. */
  afterRunId: string | undefined;
  /** A page has more where the last run has more of them. */
  limit: number;
}

export interface EventsForWaitQuery {
  wait: OpenWait;
  /** The id of the last one of the page before. */
  after: string | undefined;
  limit: number;
}

export interface EventsToMatchQuery {
  olderThanMs: number;
  /** The id of the last one of the page before. */
  after: string | undefined;
  limit: number;
}

export interface WaitStore {
  /** Open waits of the runs, those called first first. */
  waitsOf(runIds: readonly string[]): Promise<OpenWait[]>;
  /** The events that started the runs, by the runs' ids; up to 512 KiB each. */
  triggersOf(runIds: readonly string[]): Promise<Map<string, StoredEvent>>;
  /** Those not taken yet, the oldest first. */
  keptSignals(runIds: readonly string[]): Promise<KeptSignal[]>;
  /** Events a wait may look back to, the oldest first. */
  eventsFor(query: EventsForWaitQuery): Promise<StoredEvent[]>;
  matchPaths(environmentId: string, name: string): Promise<string[]>;
  /** Open waits for an event of this name, by run, those called first first. */
  waitsForEvent(query: WaitsForEventQuery): Promise<OpenWait[]>;
  resolveWaits(resolutions: readonly Resolution[]): Promise<ResolvedWaits>;
  /** Nothing was there when they were accepted. */
  lookedBack(waits: readonly Pick<OpenWait, 'runId' | 'stepId'>[]): Promise<void>;
  /** Runs of waits whose time to be looked at went by unheard. */
  runsToLookAt(olderThanMs: number, limit: number): Promise<string[]>;
  /** Routed longer ago than that, awaited then, and not matched yet; in the order of their ids. */
  eventsToMatch(query: EventsToMatchQuery): Promise<StoredEvent[]>;
  /** An event that was received before this one has its runs still to come. */
  isUnroutedBefore(event: StoredEvent): Promise<boolean>;
  /** Every wait that was there for them has been asked. */
  eventsMatched(eventIds: readonly string[]): Promise<void>;
}

export function createWaitStore(database: Database): WaitStore {
  return {
    waitsOf: async (runIds) => {
      if (runIds.length === 0) return [];
      const { lowest, highest } = boundsOf(runIds);
      const rows = await database.query<WaitRow>(waitsOfStatement, [runIds, lowest, highest]);
      return rows.map(toOpenWait);
    },
    triggersOf: async (runIds) => {
      const { lowest, highest } = boundsOf(runIds);
      const values = [runIds, lowest, highest];
      const rows = await database.query<StoredEventRow & { run_id: string }>(triggersStatement, values);
      return new Map(rows.map((row) => [row.run_id, toStoredEvent(row)]));
    },
    keptSignals: async (runIds) => {
      const rows = await database.query<SignalRow>(keptSignalsStatement, [runIds]);
      return rows.map(({ run_id, id, name }) => ({ runId: run_id, id, name }));
    },
    eventsFor: async ({ wait, after, limit }) => {
      const { scope, name, trigger } = wait;
      const rows = await database.query<StoredEventRow>(eventsForStatement, [
        scope.environmentId,
        name,
        trigger.id,
        trigger.receivedAtMs,
        after ?? null,
        limit,
        wait.runId,
      ]);
      return rows.map(toStoredEvent);
    },
    matchPaths: async (environmentId, name) =>
      (await database.query<{ path: string }>(matchPathsStatement, [environmentId, name])).map(
        ({ path }) => path,
      ),
    waitsForEvent: async ({ environmentId, name, values, afterRunId, limit }) => {
      const paths = values.map(({ path }) => path);
      const texts = values.map(({ value }) => value);
      const rows = await database.query<WaitRow>(waitsForEventStatement, [
        environmentId,
        name,
        paths,
        texts,
        afterRunId ?? null,
        limit,
      ]);
      return rows.map(toOpenWait);
    },
    resolveWaits: (resolutions) =>
      resolutions.length === 0
        ? Promise.resolve({ resolved: [], woken: [], ended: [] })
        : database.transaction((transaction) => resolve(transaction, resolutions)),
    lookedBack: async (waits) => {
      if (waits.length === 0) return;
      const column = (pick: (wait: Pick<OpenWait, 'runId' | 'stepId'>) => string) => waits.map(pick);
      const values = [column(({ runId }) => runId), column(({ stepId }) => stepId)];
      await database.query(lookedBackStatement, values);
    },
    runsToLookAt: async (olderThanMs, limit) =>
      (await database.query<{ run_id: string }>(toLookAtStatement, [olderThanMs, limit])).map(
        ({ run_id }) => run_id,
      ),
    eventsToMatch: async ({ olderThanMs, after, limit }) => {
      const values = [olderThanMs, after ?? lowestId, limit];
      return (await database.query<StoredEventRow>(toMatchStatement, values)).map(toStoredEvent);
    },
    isUnroutedBefore: async ({ scope, receivedAtMs }) => {
      const values = [scope.environmentId, receivedAtMs];
      const [row] = await database.query<{ found: boolean }>(unroutedBeforeStatement, values);
      return row!.found;
    },
    eventsMatched: async (eventIds) => void (await database.query(matchedStatement, [eventIds])),
  };
}

const waitColumns = `w.run_id, w.step_id, w.environment_id, ${scopeColumns}, w.kind, w.name, w.condition,
  w.match_path, w.match_value, w.match_type, w.looked_back,
  r.event_id as trigger_id, t.name as trigger_name, t.version as trigger_version,
  t.source as trigger_source, t.correlation_id as trigger_correlation_id,
  t.received_at_ms as trigger_received_at_ms`;
/** The run of each wait, and the event that started it: one index lookup each, in one partition. */
const waitJoins = `cross join lateral (select event_id from runs where runs.id = w.run_id offset 0) r
  cross join lateral (
    select name, version, source, correlation_id,
      (extract(epoch from received_at) * 1000)::float8 as received_at_ms
    from events where events.id = r.event_id offset 0
  ) t
  join environments e on e.id = w.environment_id`;

// A run that is just ending is waited for: after that commit nobody would look again. In the order of their ids, as
// everybody locks runs.
const waitsOfStatement: Statement = {
  name: 'waits_of',
  text: `with w as materialized (
    select * from waits where run_id = any($1::uuid[]) and run_id >= $2 and run_id <= $3
  ), awaited as materialized (
    select id, status, error from runs
    where id = any(array(select awaited_run_id from w where kind = 'run')) order by id for share
  )
  select ${waitColumns}, a.status, a.error
  from w ${waitJoins} left join awaited a on a.id = w.awaited_run_id
  order by w.run_id, w.created_at, w.place`,
};

const keptSignalsStatement: Statement = {
  name: 'kept_signals',
  text: `select run_id, id, name from signals where run_id = any($1::uuid[]) and not taken
    order by sent_at, id`,
};

const triggersStatement: Statement = {
  name: 'triggers_of',
  text: `select r.id as run_id, v.*, ${scopeColumns}
    from (
      select id, event_id from runs where id = any($1::uuid[]) and id >= $2 and id <= $3 offset 0
    ) r
    cross join lateral (select ${storedEventColumns} from events where events.id = r.event_id offset 0) v
    join environments e on e.id = v.environment_id`,
};

// Ids are made by another clock than received_at: a minute makes up for the difference.
const eventsForStatement: Statement = {
  name: 'events_for_wait',
  text: `select v.*, ${scopeColumns} from (
      select ${storedEventColumns} from events
      where environment_id = $1 and name = $2 and id <> $3 and function_id is null
        and received_at >= to_timestamp($4::float8 / 1000)
        and id >= lowest_id_at(to_timestamp($4::float8 / 1000) - interval '1 minute')
        and id > coalesce($5::uuid, '00000000-0000-0000-0000-000000000000')
        and not exists (select from steps where steps.run_id = $7 and steps.awaited_event_id = events.id)
      order by id limit $6
    ) v join environments e on e.id = v.environment_id
    order by v.id`,
};

// From path to path: an environment may have many waits for one name and few paths.
const matchPathsStatement: Statement = {
  name: 'match_paths',
  text: `with recursive paths as (
      (select match_path as path from waits
        where kind = 'event' and environment_id = $1 and name = $2 and match_path is not null
        order by match_path limit 1)
    union all
      select next.path from paths cross join lateral (
        select match_path as path from waits
        where kind = 'event' and environment_id = $1 and name = $2 and match_path > paths.path
        order by match_path limit 1
      ) next
  ) select path from paths`,
};

const waitsForEventStatement: Statement = {
  name: 'waits_for_event',
  text: `with found as (
    select w.* from waits w
    where w.kind = 'event' and w.environment_id = $1 and w.name = $2 and w.match_path is null
    union all
    select w.* from unnest($3::text[], $4::text[]) as given (path, value) join waits w
      on w.kind = 'event' and w.environment_id = $1 and w.name = $2 and w.match_path = given.path
        and w.match_value = given.value
  )
  select ${waitColumns}, null as status, null as error
  from (
    select * from found where $5::uuid is null or run_id > $5
    order by run_id fetch first $6 rows with ties
  ) w
  ${waitJoins}
  order by w.run_id, w.created_at, w.place`,
};

const lookedBackStatement: Statement = {
  name: 'looked_back',
  text: `update waits w set looked_back = true from unnest($1::uuid[], $2::text[]) as g (run_id, step_id)
    where w.run_id = any($1::uuid[]) and w.run_id = g.run_id and w.step_id = g.step_id and not w.looked_back`,
};

const toLookAtStatement: Statement = {
  name: 'runs_to_look_at',
  text: `(select run_id from waits where not looked_back and created_at < now() - $1 * interval '1 ms' limit $2)
    union
    (select s.run_id from signals s join waits w on w.run_id = s.run_id and w.kind = 'signal' and w.name = s.name
      where not s.taken limit $2)
    union
    (select w.run_id from waits w
      cross join lateral (select status from runs where runs.id = w.awaited_run_id offset 0) a
      where w.kind = 'run' and a.status in ('completed', 'failed', 'cancelled', 'skipped') limit $2)`,
};

const toMatchStatement: Statement = {
  name: 'events_to_match',
  text: `select v.*, ${scopeColumns} from (
      select event_id from awaited_events where routed_at < now() - $1 * interval '1 ms' and event_id > $2
      order by event_id limit $3
    ) n
    cross join lateral (select ${storedEventColumns} from events where events.id = n.event_id offset 0) v
    join environments e on e.id = v.environment_id
    order by v.id`,
};

// What could not be routed for an hour needs a repair, and holds nothing else up.
const unroutedBeforeStatement: Statement = {
  name: 'unrouted_before',
  text: `select exists (
    select from unrouted_events
    where environment_id = $1 and received_at > now() - interval '1 hour'
      and received_at < to_timestamp($2::float8 / 1000) + interval '1 ms'
  ) as found`,
};

const matchedStatement: Statement = {
  name: 'events_matched',
  text: 'delete from awaited_events where event_id = any($1::uuid[])',
};

const lockStatement: Statement = {
  name: 'lock_waiting_runs',
  text: 'select from runs where id = any($1::uuid[]) and id >= $2 and id <= $3 order by id for update',
};

const resolveStatement: Statement = {
  name: 'resolve_waits',
  text: `with resolved as (
    delete from waits w
    using unnest($1::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::uuid[])
      as g (run_id, step_id, output, error, event_id, signal_id)
    where w.run_id = any($1::uuid[]) and w.run_id = g.run_id and w.step_id = g.step_id
      and (g.event_id is null or not exists (
        select from steps where steps.run_id = w.run_id and steps.awaited_event_id = g.event_id))
      and (g.signal_id is null or exists (
        select from signals where signals.run_id = w.run_id and signals.id = g.signal_id and not taken))
    returning w.run_id, w.step_id, w.attempt, w.awaited_run_id, g.output, g.error, g.event_id, g.signal_id
  ), disarmed as (
    delete from timers t using resolved g
    where t.run_id = any($1::uuid[]) and t.run_id = g.run_id and t.step_id = g.step_id
  ), taken as (
    update signals s set taken = true, data = null from resolved g
    where s.run_id = any($1::uuid[]) and s.run_id = g.run_id and s.id = g.signal_id
  ), flipped as (
    update steps s set
      status = case when g.error is null then 'completed' else 'failed' end,
      output = case
        when g.signal_id is not null then coalesce((
          select data from signals where signals.run_id = g.run_id and signals.id = g.signal_id), 'null'::json)
        when g.awaited_run_id is not null and g.error is null then (
          select output from runs where runs.id = g.awaited_run_id)
        else g.output::json end,
      error = g.error::json, awaited_event_id = g.event_id, ended_at = clock_timestamp()
    from resolved g
    where s.run_id = any($1::uuid[]) and s.run_id >= $2 and s.run_id <= $3
      and s.run_id = g.run_id and s.step_id = g.step_id and s.attempt = g.attempt and s.status = 'waiting'
    returning s.run_id, s.step_id, s.name, s.type, s.attempt, s.status, s.started_at, s.ended_at
  ), woken as (
    update runs r set
      wake = r.wake + 1,
      woken_at = date_trunc('milliseconds', now()),
      status = case r.status when 'waiting' then 'queued' else r.status end
    where r.id = any(array(select run_id from resolved)) and r.id >= $2 and r.id <= $3
      and r.status in ('queued', 'running', 'waiting', 'waiting_for_worker')
      and not exists (select from timers t where t.run_id = r.id and t.step_id = '' and t.due_at > now())
    returning r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, r.status, ${laneColumnOf('r')}
  )
  select (select json_agg(json_build_array(run_id, step_id)) from resolved) as resolved,
    (select json_agg(w) from (
      select w.id, w.environment_id, w.mode, w.app_id, w.function_id, w.event_id, w.build_id, w.limited, w.bulk, ${scopeColumns}
      from woken w join environments e on e.id = w.environment_id where w.status <> 'waiting_for_worker'
    ) w) as woken,
    (select json_agg(${endedPauseTuple({ traceparent: 'r.traceparent', endedAt: 'f.ended_at' })})
      from flipped f cross join lateral (
        select traceparent from runs where runs.id = f.run_id and traceparent is not null offset 0
      ) r) as ended`,
};

async function resolve(transaction: Queryable, resolutions: readonly Resolution[]): Promise<ResolvedWaits> {
  const runIds = resolutions.map(({ runId }) => runId);
  const { lowest, highest } = boundsOf(runIds);
  const column = <T>(pick: (resolution: Resolution) => T): T[] => resolutions.map(pick);
  await transaction.query(lockStatement, [runIds, lowest, highest]);
  const [row] = await transaction.query<ResolvedRow>(resolveStatement, [
    runIds,
    lowest,
    highest,
    column(({ stepId }) => stepId),
    column(({ output }) => output ?? null),
    column(({ error }) => (error === undefined ? null : JSON.stringify(error))),
    column(({ eventId }) => eventId ?? null),
    column(({ signalId }) => signalId ?? null),
  ]);
  return {
    resolved: (row!.resolved ?? []).map(([runId, stepId]) => ({ runId, stepId })),
    woken: (row!.woken ?? []).map(runToActivate),
    ended: (row!.ended ?? []).map(toEndedPause),
  };
}

interface ResolvedRow {
  resolved: [runId: string, stepId: string][] | null;
  woken: RunToActivateRow[] | null;
  ended: EndedPauseTuple[] | null;
}

interface SignalRow {
  run_id: string;
  id: string;
  name: string;
}

/**
 * What cron reads and writes: every schedule of every environment, the clock that decides when one fires, whether a time may still
 * be fired, and what became of it.
 *
 * 1. Whether a time may be fired is asked under a lock of the schedule's row: what was paused, changed or removed before is known.
 * 2. Rows are locked in the order of their keys, as whoever registers functions does.
 * 3. A time counts as given up only if it lies behind all that is settled, so that of several replicas one counts it.
 */
import type { CronTrigger, Scope } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { scopeColumns, scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';
import { boundsOf } from './id-windows.js';
import { msOf, scheduleKey, toTrigger, triggerColumns } from './schedules.js';
import type { TriggerRow } from './schedules.js';

export interface Schedule {
  scope: Scope;
  functionId: string;
  trigger: CronTrigger;
  /** When it was registered, last given other times, taken out of the archive, or by its jitter before it was resumed: it fires no time before. */
  beginsAtMs: number;
  /** It fires none after. */
  pausedAtMs: number | undefined;
  /** Every time up to here was fired or given up. */
  settledUntilMs: number;
}

export type ScheduleKey = Pick<Schedule, 'scope' | 'functionId' | 'trigger'>;

export interface DueTime {
  schedule: ScheduleKey;
  scheduledAtMs: number;
  /** With its jitter. */
  dueAtMs: number;
}

export interface FiredTime {
  schedule: ScheduleKey;
  scheduledAtMs: number;
  settledUntilMs: number;
}

export interface CronStore {
  schedules(): Promise<Schedule[]>;
  /** Milliseconds since 1970. */
  now(): Promise<number>;
  /** For each whether its schedule still has that time. */
  mayFire(times: readonly DueTime[]): Promise<boolean[]>;
  /** Of these events, the ones that are stored. */
  storedAmong(events: readonly { schedule: ScheduleKey; eventId: string }[]): Promise<Set<string>>;
  /** One for each schedule at most. */
  recordFired(times: readonly FiredTime[]): Promise<void>;
  /** Answers how many of them nobody had settled. */
  recordGivenUp(times: readonly { schedule: ScheduleKey; scheduledAtMs: number }[]): Promise<number>;
}

export function createCronStore(database: Database): CronStore {
  return {
    schedules: async () => {
      const rows = await database.query<ScheduleRow>(schedulesStatement, []);
      return rows.map((row) => ({
        scope: scopeOf(row),
        functionId: row.function_id,
        trigger: toTrigger(row),
        beginsAtMs: row.begins_at_ms,
        pausedAtMs: row.paused_at_ms ?? undefined,
        settledUntilMs: row.settled_until_ms,
      }));
    },
    now: () => database.now(),
    mayFire: async (times) => {
      if (times.length === 0) return [];
      const rows = await database.query<{ place: number }>(mayFireStatement, [
        ...keysOf(times),
        times.map(({ scheduledAtMs }) => scheduledAtMs),
        times.map(({ dueAtMs }) => dueAtMs),
      ]);
      const allowed = new Set(rows.map(({ place }) => place));
      return times.map((_time, index) => allowed.has(index + 1));
    },
    storedAmong: async (events) => {
      if (events.length === 0) return new Set();
      const ids = events.map(({ eventId }) => eventId);
      const { lowest, highest } = boundsOf(ids);
      const environmentIds = events.map(({ schedule }) => schedule.scope.environmentId);
      const values = [environmentIds, ids, lowest, highest];
      const rows = await database.query<{ id: string }>(storedStatement, values);
      return new Set(rows.map(({ id }) => id));
    },
    recordFired: async (times) => {
      if (times.length === 0) return;
      await database.query(firedStatement, [
        ...keysOf(times),
        times.map(({ scheduledAtMs }) => scheduledAtMs),
        times.map(({ settledUntilMs }) => settledUntilMs),
      ]);
    },
    recordGivenUp: async (times) => {
      if (times.length === 0) return 0;
      const values = [...keysOf(times), times.map(({ scheduledAtMs }) => scheduledAtMs)];
      const [row] = await database.query<{ count: number }>(givenUpStatement, values);
      return row!.count;
    },
  };
}

function keysOf(times: readonly { schedule: ScheduleKey }[]): string[][] {
  return [
    times.map(({ schedule }) => schedule.scope.environmentId),
    times.map(({ schedule }) => schedule.functionId),
    times.map(({ schedule }) => schedule.trigger.cron),
    times.map(({ schedule }) => schedule.trigger.timezone),
  ];
}

interface ScheduleRow extends ScopeRow, TriggerRow {
  function_id: string;
  begins_at_ms: number;
  paused_at_ms: number | null;
  settled_until_ms: number;
}

const schedulesStatement: Statement = {
  name: 'schedules',
  text: `select s.environment_id, ${scopeColumns}, s.function_id, ${triggerColumns},
      ${msOf(`greatest(s.registered_at, s.resumed_at - coalesce(s.jitter_ms, 0) * interval '1 millisecond')`)} as begins_at_ms,
      ${msOf('least(s.paused_at, s.archived_at)')} as paused_at_ms,
      ${msOf('s.settled_until')} as settled_until_ms
    from schedules s join environments e on e.id = s.environment_id`,
};

const times = (types: string, columns: string): string => `unnest($1::uuid[], $2::text[], $3::text[],
    $4::text[]${types}) with ordinality as g (environment_id, function_id, cron, timezone${columns}, place)`;
const isKeyed = `s.environment_id = g.environment_id and s.function_id = g.function_id and s.cron = g.cron
    and s.timezone = g.timezone`;

// A time on the very millisecond of the registration is not before it. What pauses concern is when it is due.
const mayFireStatement: Statement = {
  name: 'may_fire',
  text: `select g.place::int from ${times(', $5::float8[], $6::float8[]', ', scheduled_ms, due_ms')}
    join schedules s on ${isKeyed}
    where g.scheduled_ms >= ${msOf('s.registered_at')}
      and (s.resumed_at is null or g.due_ms >= ${msOf('s.resumed_at')})
      and (s.paused_at is null or g.due_ms <= ${msOf('s.paused_at')})
      and (s.archived_at is null or g.due_ms <= ${msOf('s.archived_at')})
    order by ${scheduleKey} for share of s`,
};

const storedStatement: Statement = {
  name: 'firings_stored',
  text: `select e.id from unnest($1::uuid[], $2::uuid[]) as g (environment_id, id)
    join events e on e.id = g.id and e.environment_id = g.environment_id
    where e.id >= $3 and e.id <= $4`,
};

const firedStatement: Statement = {
  name: 'record_fired',
  text: `with locked as materialized (
    select ${scheduleKey}, g.scheduled_ms, g.settled_ms
    from ${times(', $5::float8[], $6::float8[]', ', scheduled_ms, settled_ms')} join schedules s on ${isKeyed}
    order by ${scheduleKey} for update of s
  )
  update schedules s set
    last_scheduled_at = greatest(s.last_scheduled_at, to_timestamp(g.scheduled_ms / 1000)),
    last_fired_at = case when s.last_scheduled_at > to_timestamp(g.scheduled_ms / 1000) then s.last_fired_at
      else clock_timestamp() end,
    settled_until = greatest(s.settled_until, to_timestamp(g.settled_ms / 1000))
  from locked g where ${isKeyed}`,
};

const givenUpStatement: Statement = {
  name: 'record_given_up',
  text: `with locked as materialized (
    select ${scheduleKey}, g.scheduled_ms, s.settled_until
    from ${times(', $5::float8[]', ', scheduled_ms')} join schedules s on ${isKeyed}
    order by ${scheduleKey} for update of s
  ), given_up as materialized (
    select environment_id, function_id, cron, timezone, count(*) as count,
      to_timestamp(max(scheduled_ms) / 1000) as last
    from locked where to_timestamp(scheduled_ms / 1000) > settled_until
    group by environment_id, function_id, cron, timezone
  ), updated as (
    update schedules s set given_up = s.given_up + g.count, last_given_up_at = g.last, settled_until = g.last
    from given_up g where ${isKeyed}
  )
  select coalesce(sum(count), 0)::int as count from given_up`,
};

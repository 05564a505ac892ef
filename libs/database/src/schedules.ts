/**
 * Schedules as tenants have them: written when their functions are registered, listed, paused and resumed. What cron makes of
 * them is in cron.ts.
 *
 * 1. Rows are locked in the order of their keys, as cron locks them.
 * 2. Pausing and resuming take Postgres' clock once they have the row: cron, which looks at the row under its lock before it fires,
 *    fires no time after the one and none before the other.
 */
import type { CronTrigger } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { boundsOf } from './id-windows.js';
import { planSchedules } from './schedule-registration.js';
import type { ScheduleState, WantedSchedule } from './schedule-registration.js';

export interface ScheduleRecord {
  id: string;
  functionId: string;
  trigger: CronTrigger;
  registeredAtMs: number;
  pausedAtMs?: number;
  lastFiring?: { scheduledAtMs: number; firedAtMs: number };
  givenUp: { count: number; lastAtMs?: number };
}

export interface ScheduleStore {
  /** In the order of their ids; one more than the limit, if there are more. */
  list(environmentId: string, query: ScheduleQuery): Promise<ScheduleRecord[]>;
  get(environmentId: string, scheduleId: string): Promise<ScheduleRecord | undefined>;
  /** A second time it changes nothing. */
  pause(environmentId: string, scheduleId: string): Promise<ChangedSchedule | undefined>;
  resume(environmentId: string, scheduleId: string): Promise<ChangedSchedule | undefined>;
  /** Of these events, the ones that are stored. */
  storedAmong(environmentId: string, eventIds: readonly string[]): Promise<Set<string>>;
}

export interface ScheduleQuery {
  limit: number;
  /** The id of the last one that is known. */
  after?: string | undefined;
  functionId?: string | undefined;
}

export interface ChangedSchedule {
  schedule: ScheduleRecord;
  registryVersion: number;
}

export function createScheduleStore(database: Database): ScheduleStore {
  const change = (environmentId: string, scheduleId: string, statement: Statement) =>
    database.inEnvironment(environmentId, async (transaction) => {
      await transaction.query(statement, [environmentId, scheduleId]);
      const [row] = await transaction.query<ScheduleRow>(scheduleStatement, [environmentId, scheduleId]);
      return row && { schedule: toRecord(row), registryVersion: row.registry_version };
    });
  return {
    list: async (environmentId, { limit, after = '', functionId }) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        functionId === undefined
          ? transaction.query<ScheduleRow>(listStatement, [environmentId, after, limit + 1])
          : transaction.query<ScheduleRow>(listOfStatement, [environmentId, after, limit + 1, functionId]),
      );
      return rows.map(toRecord);
    },
    get: async (environmentId, scheduleId) => {
      const [row] = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<ScheduleRow>(scheduleStatement, [environmentId, scheduleId]),
      );
      return row && toRecord(row);
    },
    pause: (environmentId, scheduleId) => change(environmentId, scheduleId, pauseStatement),
    resume: (environmentId, scheduleId) => change(environmentId, scheduleId, resumeStatement),
    storedAmong: async (environmentId, eventIds) => {
      if (eventIds.length === 0) return new Set();
      const { lowest, highest } = boundsOf(eventIds);
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<{ id: string }>(storedStatement, [environmentId, eventIds, lowest, highest]),
      );
      return new Set(rows.map(({ id }) => id));
    },
  };
}

/** Within the transaction that registers the functions; `touched` are they and those that are archived. */
export async function writeSchedules(
  transaction: Queryable,
  environmentId: string,
  { touched, wanted }: { touched: readonly string[]; wanted: readonly WantedSchedule[] },
): Promise<void> {
  const rows = await transaction.query<StateRow>(statesStatement, [environmentId, touched]);
  const { removed, updated, added } = planSchedules(rows.map(toState), wanted);
  if (removed.length > 0) {
    await transaction.query(removeStatement, [environmentId, ...keysOf(removed)]);
  }
  if (updated.length > 0) {
    await transaction.query(updateStatement, [environmentId, ...keysOf(updated), ...optionsOf(updated)]);
  }
  if (added.length === 0) return;
  await transaction.query(addStatement, [
    environmentId,
    ...keysOf(added),
    ...optionsOf(added),
    added.map(({ carried }) => carried?.pausedAt ?? null),
    added.map(({ carried }) => carried?.resumedAt ?? null),
    added.map(({ carried }) => carried?.lastScheduledAt ?? null),
    added.map(({ carried }) => carried?.lastFiredAt ?? null),
    added.map(({ carried }) => carried?.givenUp ?? 0),
    added.map(({ carried }) => carried?.lastGivenUpAt ?? null),
  ]);
}

function keysOf(schedules: readonly WantedSchedule[]): string[][] {
  return [
    schedules.map(({ functionId }) => functionId),
    schedules.map(({ trigger }) => trigger.cron),
    schedules.map(({ trigger }) => trigger.timezone),
  ];
}

function optionsOf(schedules: readonly WantedSchedule[]): unknown[][] {
  return [
    schedules.map(({ trigger }) => trigger.id ?? null),
    schedules.map(({ trigger }) => trigger.jitterMs ?? null),
    schedules.map(({ trigger }) => trigger.overlap ?? null),
    schedules.map(({ trigger }) => trigger.catchUpMs ?? null),
  ];
}

/** Of `schedules s`. */
export const triggerColumns =
  's.cron, s.timezone, s.name, s.jitter_ms, s.overlap, s.catch_up_ms::float8 as catch_up_ms';

export interface TriggerRow {
  cron: string;
  timezone: string;
  name: string | null;
  jitter_ms: number | null;
  overlap: CronTrigger['overlap'] | null;
  catch_up_ms: number | null;
}

export function toTrigger(row: TriggerRow): CronTrigger {
  return {
    cron: row.cron,
    timezone: row.timezone,
    ...(row.name === null ? {} : { id: row.name }),
    ...(row.jitter_ms === null ? {} : { jitterMs: row.jitter_ms }),
    ...(row.overlap === null ? {} : { overlap: row.overlap! }),
    ...(row.catch_up_ms === null ? {} : { catchUpMs: row.catch_up_ms }),
  };
}

export const msOf = (column: string): string => `floor(extract(epoch from ${column}) * 1000)::float8`;

interface ScheduleRow extends TriggerRow {
  id: string;
  function_id: string;
  registered_at_ms: number;
  paused_at_ms: number | null;
  last_scheduled_at_ms: number | null;
  last_fired_at_ms: number | null;
  given_up: number;
  last_given_up_at_ms: number | null;
  registry_version: number;
}

function toRecord(row: ScheduleRow): ScheduleRecord {
  const { last_scheduled_at_ms: scheduledAtMs, last_fired_at_ms: firedAtMs } = row;
  return {
    id: row.id,
    functionId: row.function_id,
    trigger: toTrigger(row),
    registeredAtMs: row.registered_at_ms,
    ...(row.paused_at_ms === null ? {} : { pausedAtMs: row.paused_at_ms }),
    ...(scheduledAtMs === null || firedAtMs === null ? {} : { lastFiring: { scheduledAtMs, firedAtMs } }),
    givenUp: {
      count: row.given_up,
      ...(row.last_given_up_at_ms === null ? {} : { lastAtMs: row.last_given_up_at_ms }),
    },
  };
}

const schedulesFrom = `select s.id, s.function_id, ${triggerColumns}, ${msOf('s.registered_at')} as registered_at_ms,
    ${msOf('s.paused_at')} as paused_at_ms, ${msOf('s.last_scheduled_at')} as last_scheduled_at_ms,
    ${msOf('s.last_fired_at')} as last_fired_at_ms, s.given_up::float8 as given_up,
    ${msOf('s.last_given_up_at')} as last_given_up_at_ms, e.registry_version
  from schedules s join environments e on e.id = s.environment_id
  where s.environment_id = $1`;
const scheduleStatement: Statement = { name: 'schedule', text: `${schedulesFrom} and s.id = $2` };
const listStatement: Statement = {
  name: 'list_schedules',
  text: `${schedulesFrom} and s.id > $2 order by s.id limit $3`,
};
const listOfStatement: Statement = {
  name: 'list_schedules_of',
  text: `${schedulesFrom} and s.id > $2 and s.function_id = $4 order by s.id limit $3`,
};
const storedStatement: Statement = {
  name: 'stored_among',
  text: `select id from events where environment_id = $1 and id = any($2::uuid[]) and id >= $3 and id <= $4`,
};
const pauseStatement: Statement = {
  name: 'pause_schedule',
  text: `update schedules set paused_at = clock_timestamp()
    where environment_id = $1 and id = $2 and paused_at is null`,
};
// What came up while it was paused is settled: it is not fired, and not given up either.
const resumeStatement: Statement = {
  name: 'resume_schedule',
  text: `update schedules set paused_at = null, resumed_at = clock_timestamp(), settled_until = clock_timestamp()
    where environment_id = $1 and id = $2 and paused_at is not null`,
};

interface StateRow extends TriggerRow {
  function_id: string;
  paused_at: string | null;
  resumed_at: string | null;
  last_scheduled_at: string | null;
  last_fired_at: string | null;
  given_up: number;
  last_given_up_at: string | null;
}

function toState(row: StateRow): ScheduleState {
  return {
    functionId: row.function_id,
    trigger: toTrigger(row),
    carried: {
      pausedAt: row.paused_at,
      resumedAt: row.resumed_at,
      lastScheduledAt: row.last_scheduled_at,
      lastFiredAt: row.last_fired_at,
      givenUp: row.given_up,
      lastGivenUpAt: row.last_given_up_at,
    },
  };
}

export const scheduleKey = 's.environment_id, s.function_id, s.cron, s.timezone';

const statesStatement: Statement = {
  name: 'schedule_states',
  text: `select s.function_id, ${triggerColumns}, s.paused_at::text, s.resumed_at::text, s.last_scheduled_at::text,
      s.last_fired_at::text, s.given_up::float8 as given_up, s.last_given_up_at::text
    from schedules s where s.environment_id = $1 and s.function_id = any($2::text[])
    order by ${scheduleKey} for update`,
};
const keyed = (columns = '', types = ''): string =>
  `unnest($2::text[], $3::text[], $4::text[]${types}) as w (function_id, cron, timezone${columns})`;
const isKeyed = `s.environment_id = $1 and s.function_id = w.function_id and s.cron = w.cron
    and s.timezone = w.timezone`;
const removeStatement: Statement = {
  name: 'remove_schedules',
  text: `delete from schedules s using ${keyed()} where ${isKeyed}`,
};
const options = ', name, jitter_ms, overlap, catch_up_ms';
const optionTypes = ', $5::text[], $6::int[], $7::text[], $8::bigint[]';
const updateStatement: Statement = {
  name: 'update_schedules',
  text: `update schedules s set name = w.name, jitter_ms = w.jitter_ms, overlap = w.overlap,
      catch_up_ms = w.catch_up_ms
    from ${keyed(options, optionTypes)} where ${isKeyed}`,
};
const carried = ', paused_at, resumed_at, last_scheduled_at, last_fired_at, given_up, last_given_up_at';
const carriedTypes = `, $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
    $13::bigint[], $14::timestamptz[]`;
const addStatement: Statement = {
  name: 'add_schedules',
  text: `insert into schedules (environment_id, function_id, cron, timezone${options}${carried})
    select $1, w.* from ${keyed(options + carried, optionTypes + carriedTypes)}
    on conflict do nothing`,
};

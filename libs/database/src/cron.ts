/** What cron reads: every schedule of every environment, and the clock that decides when one fires. */
import type { CronTrigger, Scope } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { scopeColumns, scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';

export interface Schedule {
  scope: Scope;
  functionId: string;
  trigger: CronTrigger;
  /** When it was first registered, last changed or taken out of the archive: it fires no time before. */
  registeredAtMs: number;
}

export interface CronStore {
  schedules(): Promise<Schedule[]>;
  /** Milliseconds since 1970. */
  now(): Promise<number>;
}

export function createCronStore(database: Database): CronStore {
  return {
    schedules: async () => {
      const rows = await database.query<ScheduleRow>(schedulesStatement, []);
      return rows.map((row) => ({
        scope: scopeOf(row),
        functionId: row.function_id,
        trigger: { cron: row.cron, timezone: row.timezone },
        registeredAtMs: row.registered_at_ms,
      }));
    },
    now: () => database.now(),
  };
}

interface ScheduleRow extends ScopeRow {
  function_id: string;
  cron: string;
  timezone: string;
  registered_at_ms: number;
}

const schedulesStatement: Statement = {
  name: 'schedules',
  text: `select s.environment_id, ${scopeColumns}, s.function_id, s.cron, s.timezone,
      floor(extract(epoch from s.registered_at) * 1000)::float8 as registered_at_ms
    from schedules s join environments e on e.id = s.environment_id`,
};

/** For how long environments keep events and runs: set by each for itself, and read for all of them by the scheduler. */
import type { RetentionResource } from '@ironflow/schema';
import type { Database, Statement } from './database.js';

export interface RetentionSettings {
  get(environmentId: string): Promise<RetentionResource>;
  /** Null: as the installation does. */
  set(environmentId: string, days: number | null): Promise<RetentionResource>;
}

export function createRetentionSettings(database: Pick<Database, 'inEnvironment'>): RetentionSettings {
  const run = (statement: Statement, environmentId: string, ...values: unknown[]) =>
    database.inEnvironment(environmentId, async (transaction) => {
      const [row] = await transaction.query<RetentionRow>(statement, [environmentId, ...values]);
      return { days: row!.days };
    });
  return {
    get: (environmentId) => run(readStatement, environmentId),
    set: (environmentId, days) => run(setStatement, environmentId, days),
  };
}

export interface EnvironmentRetention {
  environmentId: string;
  /** Undefined: as the installation does. */
  days: number | undefined;
}

/** Needs ironflow_service. Of all that are not erased. */
export async function listRetention(database: Pick<Database, 'query'>): Promise<EnvironmentRetention[]> {
  const rows = await database.query<RetentionRow & { id: string }>(listStatement, []);
  return rows.map(({ id, days }) => ({ environmentId: id, days: days ?? undefined }));
}

interface RetentionRow {
  days: number | null;
}

const readStatement: Statement = {
  name: 'read_retention',
  text: 'select retention_days as days from environments where id = $1',
};
const setStatement: Statement = {
  name: 'set_retention',
  text: 'update environments set retention_days = $2::int where id = $1 returning retention_days as days',
};
const listStatement: Statement = {
  name: 'list_retention',
  text: 'select id, retention_days as days from environments where erased_at is null order by id',
};

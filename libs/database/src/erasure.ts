/**
 * Everything of an environment that was deleted, erased once its grace has ended: as ironflow_service, in bounded batches, each a
 * transaction of its own. A process that dies in the middle leaves the rest to the next pass.
 *
 * 1. Rows of runs go with their runs, by the runs' ids: most of those tables have no index by environment, and nobody else's rows are
 *    looked at for it.
 * 2. Then every other table, those that others refer to last. A test reads the catalogue: a table that is in neither list fails it.
 * 3. The audit log last, by the one function that may: until then it says who had the environment deleted.
 * 4. The environment's own row stays, so that its name is not used again; nothing else of it does.
 */
import type { Scope } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { scopeColumns, scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';

/** By run. */
export const tablesOfRuns = [
  'steps',
  'run_logs',
  'timers',
  'waits',
  'signals',
  'claimed_outputs',
  'approval_links',
  'queue_entries',
  'run_events',
  'slots',
] as const;

/** By environment, in the order in which they can go. */
export const tablesOfEnvironments = [
  'unrouted_events',
  'awaited_events',
  'scheduled_events',
  'idempotency_keys',
  'events',
  'dead_letters',
  'queue_lanes',
  'flow_states',
  'forced_breakers',
  'webhook_deliveries',
  'webhook_secrets',
  'webhook_sources',
  'schedules',
  'functions',
  'apps',
  'secrets',
  'config_documents',
  'kv_buckets',
  'environment_quotas',
  'environment_use',
  'nats_credentials',
  'nats_accounts',
  'api_keys',
  'signing_keys',
  'environment_data_keys',
] as const;

/** By the function of their own. */
export const tablesOfAudit = ['audit_entries', 'audit_heads'] as const;

export interface ErasureStore {
  /** Environments whose grace has ended, those that wait the longest first. */
  due(limit: number): Promise<Scope[]>;
  /** Erases rows until there are none. `isStopped` is asked between two batches; answers whether all is gone. */
  erase(environmentId: string, isStopped: () => boolean): Promise<boolean>;
  /** All of it is gone, wherever it was. */
  markErased(environmentId: string): Promise<void>;
}

const runsPageMax = 500;
const rowsPageMax = 5_000;

export function createErasureStore(database: Database): ErasureStore {
  const eraseRuns = (environmentId: string): Promise<number> =>
    database.transaction(async (transaction) => {
      const values = [environmentId, runsPageMax];
      const runs = await transaction.query<{ id: string }>(runsStatement, values);
      await removeRuns(
        transaction,
        environmentId,
        runs.map(({ id }) => id),
      );
      return runs.length;
    });
  const eraseRows = async (statement: Statement, environmentId: string): Promise<number> => {
    const [row] = await database.query<{ count: number }>(statement, [environmentId, rowsPageMax]);
    return row!.count;
  };

  return {
    due: async (limit) => (await database.query<ScopeRow>(dueStatement, [limit])).map(scopeOf),
    erase: async (environmentId, isStopped) => {
      while (!isStopped()) if ((await eraseRuns(environmentId)) < runsPageMax) break;
      for (const statement of ofEnvironmentStatements) {
        while (!isStopped()) if ((await eraseRows(statement, environmentId)) < rowsPageMax) break;
      }
      if (isStopped()) return false;
      await database.query(eraseAuditStatement, [environmentId]);
      return true;
    },
    markErased: async (environmentId) => void (await database.query(erasedStatement, [environmentId])),
  };
}

/** With everything that is their own. */
export async function removeRuns(
  transaction: Queryable,
  environmentId: string,
  ids: readonly string[],
): Promise<void> {
  for (const statement of ofRunsStatements) await transaction.query(statement, [ids, environmentId]);
  await transaction.query(eraseRunsStatement, [ids, environmentId]);
}

const dueStatement: Statement = {
  name: 'environments_to_erase',
  text: `select e.id as environment_id, ${scopeColumns} from environments e
    where e.erase_after <= now() and e.archived_at is not null and e.erased_at is null
    order by e.erase_after limit $1`,
};
const runsStatement: Statement = {
  name: 'runs_to_erase',
  text: 'select id from runs where environment_id = $1 order by id limit $2 for update',
};
const ofRunsStatements: Statement[] = tablesOfRuns.map((table) => ({
  name: `erase_${table}`,
  text: `delete from ${table} where run_id = any($1::uuid[]) and environment_id = $2`,
}));
const eraseRunsStatement: Statement = {
  name: 'erase_runs',
  text: 'delete from runs where id = any($1::uuid[]) and environment_id = $2',
};
/** Of a table in partitions a row's place is not its own. */
const placeIn = (table: string): string => (table === 'events' ? 'id' : 'ctid');
const ofEnvironmentStatements: Statement[] = tablesOfEnvironments.map((table) => ({
  name: `erase_${table}`,
  text: `with erased as (
    delete from ${table} where environment_id = $1 and ${placeIn(table)} = any(array(
      select ${placeIn(table)} from ${table} where environment_id = $1 limit $2)) returning 1
  ) select count(*)::int as count from erased`,
}));
const eraseAuditStatement: Statement = {
  name: 'erase_audit_entries',
  text: 'select erase_audit_entries($1)',
};
const erasedStatement: Statement = {
  name: 'environment_erased',
  text: `update environments set erased_at = now() where id = $1 and erase_after <= now() and erased_at is null`,
};

/**
 * Monthly partitions of events, runs, steps and lines of runs' logs, made ahead; without them rows still find the default
 * partition.
 */
import type { Database, Statement } from './database.js';

export const partitionedTables = ['events', 'runs', 'steps', 'run_logs'] as const;

/**
 * For the scheduler, now and then; making what exists is free. One that is busy is left for the next time, which does not
 * keep the others from theirs. Needs ironflow_service.
 */
export async function ensurePartitions(database: Database): Promise<void> {
  const failures: unknown[] = [];
  for (const table of partitionedTables) {
    await database.query(ensure, [table]).catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}

const ensure: Statement = { name: 'ensure_partitions', text: 'select ensure_partitions($1)' };

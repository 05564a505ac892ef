/**
 * Monthly partitions of events, runs and steps, made ahead; without them rows still find the default
 * partition.
 */
import type { Database, Statement } from './database.js';

/** For the scheduler, now and then; making what exists is free. Needs ironflow_service. */
export async function ensurePartitions(database: Database): Promise<void> {
  await database.query(ensure, []);
}

const ensure: Statement = { name: 'ensure_partitions', text: 'select ensure_partitions()' };

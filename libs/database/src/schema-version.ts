/** Services refuse to start on a schema that they do not know, older or newer. */
import { IronflowError } from '@ironflow/errors';
import { codeOf } from './database-error.js';
import type { Database, Statement } from './database.js';
import { readMigrationFiles } from './migration-files.js';

export async function checkSchemaVersion(database: Database): Promise<void> {
  const files = await readMigrationFiles();
  const expected = files.at(-1)?.name ?? 'none';
  const found = await latestMigration(database);
  if (found === expected) return;
  throw new IronflowError(
    'unavailable',
    'schema_version_unknown',
    `the database has schema ${found}, this build needs ${expected}: run its \`ironflow migrate\``,
  );
}

const readLatest: Statement = {
  name: 'latest_migration',
  text: `select migration_name from _prisma_migrations
    where finished_at is not null and rolled_back_at is null order by migration_name desc limit 1`,
};

async function latestMigration(database: Database): Promise<string> {
  try {
    const rows = await database.query<{ migration_name: string }>(readLatest, []);
    return rows[0]?.migration_name ?? 'none';
  } catch (error) {
    if (isMissing(error)) return 'none';
    throw error;
  }
}

/** The table does not exist, or the role may not read it yet: in both cases nothing was migrated. */
function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  return code === '42P01' || code === '42501';
}

/**
 * Whether a build can run on the schema that a database has: on its own, and on a newer one that still serves it, so that
 * services of neighbouring versions restart side by side during an upgrade and after a rollback. Migrations that only add
 * leave older builds served; `oldest_build()` in the database says where that ends.
 */
import { IronflowError } from '@ironflow/errors';
import { codeOf } from './database-error.js';
import type { Database, Statement } from './database.js';
import { readMigrationFiles } from './migration-files.js';

export async function checkSchemaVersion(database: Database): Promise<void> {
  const { own, newest = 'none', isServed: isFine } = await describeSchema(database);
  if (isFine) return;
  const message =
    newest > own && newest !== 'none'
      ? `the database has schema ${newest}, which no longer serves this build (${own}): run a newer build`
      : `the database has schema ${newest}, this build needs ${own}: run its \`ironflow migrate\``;
  throw new IronflowError('unavailable', 'schema_version_unknown', message);
}

export interface SchemaDescription extends SchemaState {
  /** The newest migration of this build. */
  own: string;
  isServed: boolean;
}

export async function describeSchema(database: Pick<Database, 'query'>): Promise<SchemaDescription> {
  const own = (await readMigrationFiles()).at(-1)?.name ?? 'none';
  const schema = await readSchema(database);
  return { ...schema, own, isServed: isServed(own, schema) };
}

export interface SchemaState {
  /** The newest migration that was applied. */
  newest: string | undefined;
  /** The newest migration of the oldest build that can run on it; undefined where builds had to match exactly. */
  oldestBuild: string | undefined;
}

/** Pure. `own` is the newest migration of a build; the names begin with their time. */
export function isServed(own: string, { newest, oldestBuild }: SchemaState): boolean {
  if (newest === own) return true;
  return newest !== undefined && newest > own && oldestBuild !== undefined && oldestBuild <= own;
}

async function readSchema(database: Pick<Database, 'query'>): Promise<SchemaState> {
  const [latest] = await unlessMissing(database.query<{ migration_name: string }>(readNewest, []));
  const [oldest] = await unlessMissing(database.query<{ oldest_build: string }>(readOldestBuild, []));
  return { newest: latest?.migration_name, oldestBuild: oldest?.oldest_build };
}

const readNewest: Statement = {
  name: 'newest_migration',
  text: `select migration_name from _prisma_migrations
    where finished_at is not null and rolled_back_at is null order by migration_name desc limit 1`,
};

const readOldestBuild: Statement = { name: 'oldest_build', text: 'select oldest_build()' };

/** The table or the function does not exist, or the role may not read it yet: in all cases it was not migrated so far. */
async function unlessMissing<Row>(rows: Promise<Row[]>): Promise<Row[]> {
  try {
    return await rows;
  } catch (error) {
    if (['42P01', '42883', '42501'].includes(codeOf(error) ?? '')) return [];
    throw error;
  }
}

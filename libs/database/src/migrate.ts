/**
 * `ironflow migrate`: brings a database to this build's schema from the committed SQL, without the Prisma CLI
 * but with its bookkeeping (`_prisma_migrations`), so that the CLI can read what was done.
 *
 * 1. One migrator at a time per database (advisory lock); the others wait and then find nothing to do.
 * 2. A migration and the note that it finished are one transaction: an unfinished note means that nothing was
 *    applied.
 * 3. An applied migration whose file has changed since is refused. A newer build's are no obstacle as long as their schema
 *    still serves this build: after a rollback there is nothing to do.
 */
import { randomUUID } from 'node:crypto';
import { IronflowError, messageOf } from '@ironflow/errors';
import pg from 'pg';
import { asDatabaseError, codeOf } from './database-error.js';
import type { MigrationFile } from './migration-files.js';
import { readMigrationFiles } from './migration-files.js';
import { partitionedTables } from './partitions.js';
import { ensureRoles } from './roles.js';
import type { ServicePasswords } from './roles.js';
import { isServed } from './schema-version.js';

export interface MigrateOptions {
  /** A superuser, or an owner of the database that may create roles. */
  ownerUrl: string;
  log: (message: string) => void;
  /** What the two service roles log in with; left as they are when absent. */
  servicePasswords?: ServicePasswords | undefined;
}

export async function migrate(options: MigrateOptions): Promise<{ applied: string[] }> {
  return applyMigrations(await readMigrationFiles(), options);
}

export async function applyMigrations(
  files: MigrationFile[],
  options: MigrateOptions,
): Promise<{ applied: string[] }> {
  const client = new pg.Client({
    connectionString: options.ownerUrl,
    application_name: 'ironflow migrate',
    connectionTimeoutMillis: 10_000,
  });
  // Heard by the query under way as well; unheard, the event would end the process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await takeLock(client, options.log);
    await ensureRoles(client, options.servicePasswords);
    await client.query('set role ironflow_owner');
    const applied = await applyPending(client, files, options.log);
    await makePartitions(client, options.log);
    return { applied };
  } catch (error) {
    throw asDatabaseError(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Kept until the connection ends. */
async function takeLock(client: pg.Client, log: (message: string) => void): Promise<void> {
  const lock = ['ironflow.migrate'];
  const { rows } = await client.query<{ free: boolean }>(
    'select pg_try_advisory_lock(hashtextextended($1, 0)) as free',
    lock,
  );
  if (rows[0]?.free === true) return;
  log('waiting for another migration of this database to end');
  await client.query('select pg_advisory_lock(hashtextextended($1, 0))', lock);
}

/** Of a database in use a table may be busy: the scheduler tries again. Where fewer migrations are applied there are fewer tables. */
async function makePartitions(client: pg.Client, log: (message: string) => void): Promise<void> {
  for (const table of partitionedTables) {
    try {
      await client.query('select ensure_partitions($1) where to_regclass($1) is not null', [table]);
    } catch (error) {
      if (codeOf(error) !== lockNotAvailable) throw error;
      log(`partitions of ${table} are left to the scheduler: the table is busy`);
    }
  }
}

const lockNotAvailable = '55P03';

interface AppliedMigration {
  migration_name: string;
  checksum: string;
}

async function applyPending(
  client: pg.Client,
  files: MigrationFile[],
  log: (message: string) => void,
): Promise<string[]> {
  await client.query(createBookkeeping);
  // A migrator that died left its note behind, and by rule 2 nothing else.
  await client.query(`update _prisma_migrations set rolled_back_at = now()
    where finished_at is null and rolled_back_at is null`);
  const { rows } =
    await client.query<AppliedMigration>(`select migration_name, checksum from _prisma_migrations
    where finished_at is not null and rolled_back_at is null`);
  checkApplied(files, rows, await readOldestBuild(client));
  const done = new Set(rows.map((row) => row.migration_name));
  const applied: string[] = [];
  for (const file of files.filter(({ name }) => !done.has(name))) {
    await applyOne(client, file);
    applied.push(file.name);
    log(`applied migration ${file.name}`);
  }
  return applied;
}

/** Undefined on a schema from before it was told. */
async function readOldestBuild(client: pg.Client): Promise<string | undefined> {
  const { rows } = await client.query<{ known: boolean }>(
    `select to_regprocedure('oldest_build()') is not null as known`,
  );
  if (rows[0]?.known !== true) return undefined;
  const oldest = await client.query<{ oldest_build: string }>('select oldest_build()');
  return oldest.rows[0]?.oldest_build;
}

function checkApplied(
  files: MigrationFile[],
  applied: AppliedMigration[],
  oldestBuild: string | undefined,
): void {
  const checksums = new Map(files.map((file) => [file.name, file.checksum]));
  const own = files.at(-1)?.name ?? 'none';
  for (const { migration_name: name, checksum } of applied) {
    const known = checksums.get(name);
    if (known === checksum) continue;
    if (known === undefined && isServed(own, { newest: name, oldestBuild })) continue;
    const what = known === undefined ? 'is unknown to this build' : 'was changed after it was applied';
    throw new IronflowError('conflict', 'migration_mismatch', `migration ${name} of the database ${what}`);
  }
}

async function applyOne(client: pg.Client, file: MigrationFile): Promise<void> {
  const id = randomUUID();
  await client.query('insert into _prisma_migrations (id, checksum, migration_name) values ($1, $2, $3)', [
    id,
    file.checksum,
    file.name,
  ]);
  try {
    await client.query('begin');
    await client.query(file.sql);
    await client.query(
      'update _prisma_migrations set finished_at = now(), applied_steps_count = 1 where id = $1',
      [id],
    );
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    const reason = messageOf(error);
    await client.query('update _prisma_migrations set rolled_back_at = now(), logs = $2 where id = $1', [
      id,
      reason,
    ]);
    throw new IronflowError('internal', 'migration_failed', `migration ${file.name} failed: ${reason}`, {
      cause: error,
    });
  }
}

/** The table as the Prisma CLI makes it. */
const createBookkeeping = `create table if not exists _prisma_migrations (
  id varchar(36) primary key not null,
  checksum varchar(64) not null,
  finished_at timestamptz,
  migration_name varchar(255) not null,
  logs text,
  rolled_back_at timestamptz,
  started_at timestamptz not null default now(),
  applied_steps_count integer not null default 0
)`;

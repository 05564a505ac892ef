/**
 * A copy of a running PostgreSQL, as pg_basebackup makes it: between the server's start and stop of a backup its files are copied
 * while they change, and the log that was written meanwhile makes them consistent when the copy is started.
 */
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureServerFolder } from './server-folder.js';

export interface PostgresBackupOptions {
  /** The folder of the server, with its cluster and its password. */
  dataDir: string;
  /** Becomes such a folder. */
  target: string;
  /** All over one connection: the server ends the backup when that ends. */
  query: (sql: string) => Promise<Record<string, string>[]>;
}

/** Of the server that runs. */
const left = new Set(['postmaster.pid', 'postmaster.opts', 'pg_wal']);

export async function backUpPostgres({ dataDir, target, query }: PostgresBackupOptions): Promise<void> {
  await ensureServerFolder(target);
  const [cluster, copy] = [join(dataDir, 'cluster'), join(target, 'cluster')];
  await query(`select pg_backup_start('ironflow', true)`);
  await copyFolder(cluster, copy, (name) => !left.has(name));
  const [stopped] = await query('select labelfile, spcmapfile from pg_backup_stop()');
  await writeFile(join(copy, 'backup_label'), stopped!['labelfile']!, { mode: 0o600 });
  // After the stop: what was written up to it is needed.
  await copyFolder(join(cluster, 'pg_wal'), join(copy, 'pg_wal'), () => true);
  await copyFile(join(dataDir, 'password'), join(target, 'password'));
}

async function copyFolder(from: string, to: string, isWanted: (name: string) => boolean): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (!isWanted(entry.name)) continue;
    const [source, copy] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyFolder(source, copy, () => true);
    else await copyFile(source, copy).catch(unlessGone);
  }
}

/** Files come and go while the server runs; the log says so. */
function unlessGone(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

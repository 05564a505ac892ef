/** The committed migrations, in order, as they lie beside the package's sources and its build alike. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';

export interface MigrationFile {
  name: string;
  sql: string;
  /** As Prisma computes it: SHA-256 of the file, in hex. */
  checksum: string;
}

const folder = new URL('../prisma/migrations/', import.meta.url);

export async function readMigrationFiles(): Promise<MigrationFile[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(new URL(`${name}/migration.sql`, folder), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

/**
 * Before the tests of a package (Jest's globalSetup): what makes their servers start sooner, and changes nothing else. A PostgreSQL folder is
 * made and migrated once on this machine, and copied for each file of tests; without the builds of the libraries that make it, tests make
 * folders of their own.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const workspace = fileURLToPath(new URL('../../', import.meta.url));
const migrations = join(workspace, 'libs/database/prisma/migrations');
const builds = ['testing', 'database'].map((name) => join(workspace, `libs/${name}/dist/index.js`));

export default async function prepareServers() {
  if (!builds.every((path) => existsSync(path))) return;
  const cache = join(workspace, 'node_modules/.cache/ironflow');
  const template = join(cache, `postgres-${await contentKey()}`);
  if (!existsSync(template)) await makeTemplate(cache, template);
  process.env.IRONFLOW_TEST_POSTGRES = template;
}

/** Of what is in such a folder: of which server (it is a dependency), with which migrations, and the partitions of which months. */
async function contentKey() {
  const hash = createHash('sha256').update(new Date().toISOString().slice(0, 7));
  hash.update(await readFile(join(workspace, 'libs/testing/package.json')));
  for (const name of (await readdir(migrations)).sort()) {
    const sql = await readFile(join(migrations, name, 'migration.sql')).catch(() => '');
    hash.update(name).update(sql);
  }
  return hash.digest('hex').slice(0, 16);
}

/** Beside its place and then renamed: another package's tests may be doing the same, and the first one is kept. */
async function makeTemplate(cache, template) {
  const [{ startPostgres, migratedDatabase }, { migrate }] = await Promise.all(
    builds.map((path) => import(pathToFileURL(path).href)),
  );
  await mkdir(cache, { recursive: true });
  const unfinished = `${template}.${randomBytes(4).toString('hex')}`;
  const server = await startPostgres({ dataDir: unfinished, durable: false });
  await migrate({ ownerUrl: await server.createDatabase(migratedDatabase), log: () => undefined });
  await server.stop();
  const outdated = (await readdir(cache)).filter((name) => /^postgres-[0-9a-f]{16}$/.test(name));
  await rename(unfinished, template).catch(() => rm(unfinished, { recursive: true }));
  for (const name of outdated) {
    const path = join(cache, name);
    if (path !== template) await rm(path, { recursive: true, force: true });
  }
}

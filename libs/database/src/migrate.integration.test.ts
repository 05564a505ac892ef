import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createScratch, startPostgres } from '@ironflow/testing';
import type { PostgresServer, Scratch } from '@ironflow/testing';
import pg from 'pg';
import { passwords, silent } from '../test/platform.js';
import { Prisma } from './generated/client.js';
import { checkSchemaVersion, createDatabase, ensurePartitions, migrate, serviceUrl } from './index.js';
import type { Database } from './index.js';
import { applyMigrations } from './migrate.js';
import { readMigrationFiles } from './migration-files.js';
import { isServed } from './schema-version.js';

// A server that no migration was ever run on: the roles are the server's, and the first to migrate makes them.
let scratch: Scratch;
let server: PostgresServer;

beforeAll(async () => {
  scratch = await createScratch('migrate');
  server = await startPostgres({ dataDir: scratch.path, durable: false });
});
afterAll(async () => {
  await server?.kill();
  await scratch?.remove();
});

function emptyDatabase(): Promise<string> {
  return server.createDatabase(`test_${randomBytes(8).toString('hex')}`);
}

async function withAdmin<T>(ownerUrl: string, use: (admin: pg.Client) => Promise<T>): Promise<T> {
  const admin = new pg.Client({ connectionString: ownerUrl });
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.end();
  }
}

async function withService<T>(ownerUrl: string, use: (service: Database) => Promise<T>): Promise<T> {
  const url = serviceUrl(ownerUrl, 'ironflow_service', passwords.service);
  const service = createDatabase({ url, applicationName: 'test' });
  try {
    return await use(service);
  } finally {
    await service.close();
  }
}

test('migrating twice at once applies everything once, and afterwards there is nothing to do', async () => {
  const ownerUrl = await emptyDatabase();
  const options = { ownerUrl, log: silent, servicePasswords: passwords };
  const outcomes = await Promise.all([migrate(options), migrate(options), migrate(options)]);
  const names = (await readMigrationFiles()).map(({ name }) => name);
  expect(outcomes.flatMap(({ applied }) => applied)).toEqual(names);
  expect(await migrate({ ownerUrl, log: silent })).toEqual({ applied: [] });
  await withService(ownerUrl, checkSchemaVersion);
});

test('two databases of one server are set up at the same time', async () => {
  const urls = await Promise.all([emptyDatabase(), emptyDatabase(), emptyDatabase()]);
  await Promise.all(urls.map((ownerUrl) => migrate({ ownerUrl, log: silent, servicePasswords: passwords })));
  for (const ownerUrl of urls) await withService(ownerUrl, checkSchemaVersion);
});

test('a migration that fails leaves nothing, is noted with its reason, and can be repaired', async () => {
  const ownerUrl = await emptyDatabase();
  const options = { ownerUrl, log: silent };
  const files = await readMigrationFiles();
  const broken = {
    name: '29990101000000_next',
    sql: 'create table half (id int); select 1 / 0',
    checksum: 'b',
  };
  await expect(applyMigrations([...files, broken], options)).rejects.toMatchObject({
    code: 'migration_failed',
    message: expect.stringContaining('division by zero'),
  });
  await withAdmin(ownerUrl, async (admin) => {
    expect((await admin.query(`select to_regclass('half') as half`)).rows).toEqual([{ half: null }]);
    const notes = await admin.query<{ logs: string }>(
      `select logs from _prisma_migrations where migration_name = $1 and rolled_back_at is not null`,
      [broken.name],
    );
    expect(notes.rows).toEqual([{ logs: expect.stringContaining('division by zero') }]);
  });
  const repaired = { ...broken, sql: 'create table whole (id int)', checksum: 'r' };
  expect(await applyMigrations([...files, repaired], options)).toEqual({ applied: [repaired.name] });
});

test('a migrator that died in the middle is no obstacle', async () => {
  const ownerUrl = await emptyDatabase();
  const [file] = await readMigrationFiles();
  await applyMigrations([], { ownerUrl, log: silent }).catch(() => undefined);
  await withAdmin(ownerUrl, (admin) =>
    admin.query(`insert into _prisma_migrations (id, checksum, migration_name) values ('dead', $1, $2)`, [
      file!.checksum,
      file!.name,
    ]),
  );
  expect((await migrate({ ownerUrl, log: silent })).applied).toContain(file!.name);
});

test('an applied migration whose file was changed is refused', async () => {
  const ownerUrl = await emptyDatabase();
  await migrate({ ownerUrl, log: silent });
  const files = await readMigrationFiles();
  const changed = files.map((file) => ({ ...file, checksum: 'other' }));
  await expect(applyMigrations(changed, { ownerUrl, log: silent })).rejects.toMatchObject({
    code: 'migration_mismatch',
    message: expect.stringContaining('was changed after it was applied'),
  });
});

test('services refuse an empty database, an older schema, and a newer one that no longer serves them', async () => {
  const ownerUrl = await emptyDatabase();
  const other = await emptyDatabase();
  // The roles belong to the server: they exist although this database was never migrated.
  await migrate({ ownerUrl: other, log: silent, servicePasswords: passwords });
  const files = await readMigrationFiles();
  const refused = { code: 'schema_version_unknown', message: expect.stringContaining('ironflow migrate') };
  const refuses = (error: object) =>
    withService(ownerUrl, (service) => expect(checkSchemaVersion(service)).rejects.toMatchObject(error));
  await refuses(refused);
  await applyMigrations(files.slice(0, -1), { ownerUrl, log: silent, servicePasswords: passwords });
  await refuses(refused);
  await applyMigrations([...files, next(`select 1; ${servesOnlyFrom(nextName)}`)], { ownerUrl, log: silent });
  await refuses({
    code: refused.code,
    message: expect.stringContaining(`${nextName}, which no longer serves`),
  });
  await expect(migrate({ ownerUrl, log: silent })).rejects.toMatchObject({ code: 'migration_mismatch' });
});

test('a newer schema that only adds serves this build, and the build that was rolled back has nothing to migrate', async () => {
  const ownerUrl = await emptyDatabase();
  const files = await readMigrationFiles();
  const options = { ownerUrl, log: silent, servicePasswords: passwords };
  await applyMigrations([...files, next('create table addition (id int)')], options);
  await withService(ownerUrl, checkSchemaVersion);
  expect(await migrate({ ownerUrl, log: silent })).toEqual({ applied: [] });
});

test.each([
  ['its own', 'b', { newest: 'b', oldestBuild: 'b' }, true],
  ['its own, from before the oldest build was told', 'b', { newest: 'b', oldestBuild: undefined }, true],
  ['a newer one that serves it', 'b', { newest: 'c', oldestBuild: 'b' }, true],
  ['a newer one that serves later builds only', 'b', { newest: 'd', oldestBuild: 'c' }, false],
  ['a newer one that says nothing', 'b', { newest: 'c', oldestBuild: undefined }, false],
  ['an older one, whatever it serves', 'b', { newest: 'a', oldestBuild: 'a' }, false],
  ['none', 'b', { newest: undefined, oldestBuild: undefined }, false],
])('a build and a schema: %s', (_, own, schema, served) => {
  expect(isServed(own, schema)).toBe(served);
});

const nextName = '29990101000000_next';

function next(sql: string) {
  return { name: nextName, sql, checksum: 'n' };
}

function servesOnlyFrom(name: string): string {
  return `create or replace function oldest_build() returns text language sql stable return '${name}'`;
}

test('a login that may not create roles is told so, and suffices once the roles are there', async () => {
  const ownerUrl = await emptyDatabase();
  const database = new URL(ownerUrl).pathname.slice(1);
  await migrate({ ownerUrl: await emptyDatabase(), log: silent, servicePasswords: passwords });
  await withAdmin(ownerUrl, async (admin) => {
    await admin.query(`drop role if exists plain_admin`);
    await admin.query(`create role plain_admin login password 'plain'`);
    await admin.query(`alter database ${admin.escapeIdentifier(database)} owner to plain_admin`);
  });
  const plain = new URL(ownerUrl);
  plain.username = 'plain_admin';
  plain.password = 'plain';
  await expect(
    migrate({ ownerUrl: plain.href, log: silent, servicePasswords: passwords }),
  ).rejects.toMatchObject({
    code: 'role_creation_forbidden',
    message: expect.stringContaining('CREATEROLE'),
  });
  await withAdmin(ownerUrl, (admin) => admin.query('grant ironflow_owner to plain_admin'));
  expect((await migrate({ ownerUrl: plain.href, log: silent })).applied).not.toEqual([]);
  await withService(ownerUrl, checkSchemaVersion);
});

test('services log in as roles that own and bypass nothing, by their password only', async () => {
  const ownerUrl = await emptyDatabase();
  await migrate({ ownerUrl, log: silent, servicePasswords: passwords });
  await withAdmin(ownerUrl, async (admin) => {
    const { rows } = await admin.query(`select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,
        pg_has_role(oid, 'ironflow_owner', 'member') as is_owner,
        exists (select from pg_class where relowner = pg_roles.oid) as owns
      from pg_roles where rolname in ('ironflow_service', 'ironflow_tenant') order by 1`);
    const powerless = { rolsuper: false, rolbypassrls: false, rolcreaterole: false, rolcreatedb: false };
    expect(rows).toEqual(
      ['ironflow_service', 'ironflow_tenant'].map((rolname) => ({
        rolname,
        ...powerless,
        is_owner: false,
        owns: false,
      })),
    );
  });
  const wrong = createDatabase({
    url: serviceUrl(ownerUrl, 'ironflow_tenant', 'wrong'),
    applicationName: 'test',
  });
  await expect(wrong.now()).rejects.toMatchObject({ code: '28P01' });
  await wrong.close();
});

test('the Prisma schema and the migrations declare the same tables and columns', async () => {
  const ownerUrl = await emptyDatabase();
  await migrate({ ownerUrl, log: silent, servicePasswords: passwords });
  await withService(ownerUrl, async (service) => {
    const columns = await withAdmin(ownerUrl, (admin) =>
      admin.query<{ table_name: string; columns: string[] }>(`select c.relname as table_name,
          array_agg(replace(a.attname, '_', '') order by 1) as columns
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and c.relname <> '_prisma_migrations'
        group by 1`),
    );
    const inDatabase = new Set(
      columns.rows.map((row) =>
        row.columns
          .map((name) => name)
          .sort()
          .join(),
      ),
    );
    const models = Object.values(Prisma.ModelName);
    expect(models).toHaveLength(columns.rows.length);
    for (const model of models) {
      const fields = Object.keys(Prisma[`${model}ScalarFieldEnum`]);
      const spelled = fields.map((field) =>
        model === 'Environment' && field === 'projectSlug' ? 'project' : field,
      );
      expect(inDatabase).toContain(
        spelled
          .map((field) => field.toLowerCase())
          .sort()
          .join(),
      );
      const name = `${model[0]!.toLowerCase()}${model.slice(1)}` as 'run';
      expect(await service.prisma[name].findFirst()).toBeNull();
    }
  });
});

test('partitions are there for this month and two more, and making them again adds none', async () => {
  const ownerUrl = await emptyDatabase();
  await migrate({ ownerUrl, log: silent, servicePasswords: passwords });
  const count = `select parent.relname as name, count(*)::int from pg_inherits
    join pg_class parent on parent.oid = inhparent where parent.relkind = 'p' group by 1 order by 1`;
  const expected = ['events', 'run_logs', 'runs', 'steps'].map((name) => ({ name, count: 4 }));
  await withService(ownerUrl, async (service) => {
    await Promise.all([ensurePartitions(service), ensurePartitions(service)]);
  });
  await withAdmin(ownerUrl, async (admin) => {
    expect((await admin.query(count)).rows).toEqual(expected);
    await admin.query(
      `select ensure_partitions(t, 4) from unnest(array['events', 'run_logs', 'runs', 'steps']) t`,
    );
    expect((await admin.query(count)).rows).toEqual(expected.map((row) => ({ ...row, count: 6 })));
  });
});

test('making partitions waits for nobody’s statement, and a busy table does not keep the others from theirs', async () => {
  const ownerUrl = await emptyDatabase();
  await migrate({ ownerUrl, log: silent, servicePasswords: passwords });
  const counts = `select parent.relname as name, count(*)::int from pg_inherits
    join pg_class parent on parent.oid = inhparent where parent.relkind = 'p' group by 1 order by 1`;
  await withAdmin(ownerUrl, async (admin) => {
    await admin.query('begin; drop table events_default, runs_default; commit; begin; select from events');
    await withService(ownerUrl, async (service) => {
      await expect(ensurePartitions(service)).rejects.toMatchObject({ code: 'database_unavailable' });
    });
    expect((await admin.query(counts)).rows).toEqual([
      { name: 'events', count: 3 },
      { name: 'run_logs', count: 4 },
      { name: 'runs', count: 4 },
      { name: 'steps', count: 4 },
    ]);
    await admin.query('commit');
  });
});

test('what the service roles log in with is kept as a verifier, whatever characters it has', async () => {
  const ownerUrl = await emptyDatabase();
  const odd = { service: "it's ﬁne\u00a0ünder €\\", tenant: 'plain' };
  await migrate({ ownerUrl, log: silent, servicePasswords: odd });
  const service = createDatabase({
    url: serviceUrl(ownerUrl, 'ironflow_service', odd.service),
    applicationName: 'test',
  });
  expect(await service.now()).toBeGreaterThan(0);
  await service.close();
  const wrong = createDatabase({
    url: serviceUrl(ownerUrl, 'ironflow_service', odd.tenant),
    applicationName: 'test',
  });
  await expect(wrong.now()).rejects.toMatchObject({ code: '28P01' });
  await wrong.close();
  // Roles belong to the whole server, which other tests share.
  await migrate({ ownerUrl, log: silent, servicePasswords: passwords });
  await withAdmin(ownerUrl, async (admin) => {
    const { rows } = await admin.query<{ rolpassword: string }>(
      `select rolpassword from pg_authid where rolname like 'ironflow_%' and rolpassword is not null`,
    );
    for (const { rolpassword } of rows) expect(rolpassword).toMatch(/^SCRAM-SHA-256\$4096:/);
  });
});

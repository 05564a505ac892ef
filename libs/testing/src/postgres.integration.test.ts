import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { postgresProgram } from './postgres-program.js';
import { startPostgres, type PostgresServer } from './postgres.js';
import { createScratch, type Scratch } from './scratch.js';

let scratch: Scratch;
let started: PostgresServer[];

beforeEach(async () => {
  scratch = await createScratch('postgres-test');
  started = [];
});

afterEach(async () => {
  await Promise.all(started.map((server) => server.kill()));
  await scratch.remove();
});

async function start(options: Partial<Parameters<typeof startPostgres>[0]> = {}): Promise<PostgresServer> {
  const server = await startPostgres({ dataDir: scratch.file('data'), durable: false, ...options });
  started.push(server);
  return server;
}

/** Whether a database exists is the one thing this package can ask without an SQL client of its own. */
async function expectKept(server: PostgresServer, name: string): Promise<void> {
  await expect(server.createDatabase(name)).rejects.toThrow(`database "${name}" already exists`);
}

test('a new folder becomes a server with the database ironflow and a password nobody else can read', async () => {
  const server = await start({ durable: true });
  const url = new URL(server.url);
  expect(url.pathname).toBe('/ironflow');
  expect(url.hostname).toBe('127.0.0.1');
  expect(url.password).toMatch(/^[0-9a-f]{48}$/);
  expect((await stat(scratch.file('data', 'password'))).mode & 0o077).toBe(0);
  await expectKept(server, 'ironflow');
});

test('a server of a test shares memory through its folder, so that none stays when it is killed', async () => {
  const server = await start();
  expect(await readdir(scratch.file('data', 'cluster', 'pg_dynshmem'))).not.toEqual([]);
  await server.kill();
});

test('data, port and password survive a stop and a restart', async () => {
  const server = await start();
  await server.createDatabase('kept');
  const { url, pid } = server;
  await server.restart();
  expect(server.url).toBe(url);
  expect(server.pid).not.toBe(pid);
  await expectKept(server, 'kept');
});

test('data survives kill -9 of all of its processes, for the same launcher and for the next one', async () => {
  const server = await start();
  await server.createDatabase('kept');
  await server.kill();
  await server.restart();
  await expectKept(server, 'kept');
  await server.kill();
  await expectKept(await start(), 'kept');
});

test('data survives when only the main process is killed and its children are left to notice', async () => {
  const server = await start();
  await server.createDatabase('kept');
  process.kill(server.pid, 'SIGKILL');
  await server.restart();
  await expectKept(server, 'kept');
});

test('a lock file that names a process of somebody else does not block the start', async () => {
  const server = await start();
  await server.createDatabase('kept');
  await server.kill();
  const lockPath = scratch.file('data', 'cluster', 'postmaster.pid');
  const lines = (await readFile(lockPath, 'utf8')).split('\n');
  const foreign = execFileSync('sh', ['-c', 'sleep 20 >/dev/null 2>&1 & echo $!'], {
    encoding: 'utf8',
  }).trim();
  try {
    await writeFile(lockPath, [foreign, ...lines.slice(1)].join('\n'));
    await expectKept(await start(), 'kept');
  } finally {
    process.kill(Number(foreign));
  }
});

test('a second server on the folder of a running one is refused, and the first goes on', async () => {
  const server = await start();
  await expect(startPostgres({ dataDir: scratch.file('data') })).rejects.toMatchObject({
    code: 'data_folder_in_use',
    message: expect.stringContaining(`process ${server.pid}`),
  });
  await expectKept(server, 'ironflow');
});

test('a taken port is refused by number', async () => {
  const { port } = await start();
  const second = startPostgres({ dataDir: scratch.file('second'), port, durable: false });
  await expect(second).rejects.toMatchObject({
    code: 'port_taken',
    message: expect.stringContaining(`port ${port}`),
  });
});

test('a folder that cannot be made is refused by name', async () => {
  await writeFile(scratch.file('file'), '');
  await expect(start({ dataDir: scratch.file('file', 'data') })).rejects.toMatchObject({
    code: 'data_folder_unwritable',
    message: expect.stringContaining(scratch.file('file', 'data')),
  });
});

test('a folder of another major version is refused with both versions', async () => {
  const server = await start();
  await server.stop();
  await writeFile(scratch.file('data', 'cluster', 'PG_VERSION'), '17\n');
  await expect(start()).rejects.toMatchObject({
    code: 'postgres_version_mismatch',
    message: expect.stringMatching(/made by PostgreSQL 17, and this is 18/),
  });
});

test('a preparation that was killed half-way is done again', async () => {
  await start().then((server) => server.stop());
  const cluster = scratch.file('data', 'cluster');
  execFileSync('mv', [cluster, `${cluster}.unfinished`]);
  await rm(join(`${cluster}.unfinished`, 'PG_VERSION'));
  await expectKept(await start(), 'ironflow');
});

test('library links that no install script has made are made', async () => {
  const { postgres } = await postgresProgram();
  const link = join(dirname(dirname(postgres)), 'lib', 'libecpg_compat.so');
  await rm(link, { force: true });
  await postgresProgram();
  expect((await stat(link)).isFile()).toBe(true);
});

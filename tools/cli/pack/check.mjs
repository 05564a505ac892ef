/**
 * Packs the CLI and the SDK, installs both into an empty strict project and uses them there: an app is compiled, registers at
 * a platform started from this workspace, and is driven by the installed `ironflow`. Needs a package registry or npm's
 * cache, and the built workspace; leaves nothing behind.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const require = createRequire(import.meta.url);
const readyWithinMs = 60_000;

const source = `
import { createFunction, createWorker } from '@ironflow/sdk';
import { z } from 'zod';

const hello = createFunction(
  { id: 'hello', triggers: [{ event: 'greeting.sent' }], schema: z.object({ name: z.string() }) },
  async ({ event, step }) => step.run('greet', (): string => 'hello ' + event.data.name),
);
await createWorker({ app: 'packed', functions: [hello] }).start();
console.log('worker started');
`;

const project = await mkdtemp(join(tmpdir(), 'ironflow-cli-'));
const ending = [];
try {
  await install();
  checkCompiles();
  checkWithoutPlatform();
  await checkWithPlatform();
  process.stdout.write(`ok: ${(await installedPackages()).join(', ')}\n`);
} finally {
  for (const child of ending.reverse()) await end(child);
  await rm(project, { recursive: true, force: true });
}

async function install() {
  const pack = (script) => execFileSync(process.execPath, [at(script)], { encoding: 'utf8' }).trim();
  const tarballs = [pack('./pack.mjs'), pack('../../../libs/sdk/pack/pack.mjs')];
  const manifest = { name: 'empty', private: true, type: 'module' };
  const compilerOptions = {
    strict: true,
    skipLibCheck: false,
    target: 'es2022',
    module: 'nodenext',
    outDir: 'out',
  };
  const types = `@types/node@${require('@types/node/package.json').version}`;
  await writeFile(join(project, 'package.json'), JSON.stringify(manifest));
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['index.ts'] }));
  await writeFile(join(project, 'index.ts'), source);
  const flags = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel', 'error'];
  execFileSync('npm', ['install', ...flags, ...tarballs, types], { cwd: project, stdio: ['ignore', 2, 2] });
  for (const name of await installedPackages()) {
    if (/nats|prisma|postgres|^pg/i.test(name)) throw new Error(`${name} came with the CLI or the SDK`);
  }
  const installed = JSON.parse(
    await readFile(join(project, 'node_modules', '@ironflow', 'cli', 'package.json'), 'utf8'),
  );
  process.stdout.write(`dependencies of the CLI: ${Object.keys(installed.dependencies).join(', ')}\n`);
}

async function installedPackages() {
  const names = await readdir(join(project, 'node_modules'));
  return names.filter((name) => !name.startsWith('.'));
}

function checkCompiles() {
  const compiler = [require.resolve('typescript/bin/tsc'), '-p', project, '--types', 'node'];
  execFileSync(process.execPath, compiler, { stdio: ['ignore', 2, 2] });
}

function checkWithoutPlatform() {
  const nowhere = { IRONFLOW_URL: 'http://127.0.0.1:9', IRONFLOW_API_KEY: 'ifk_x' };
  expect(ironflow(['--help'], {}), { status: 0, text: /Usage: ironflow/ });
  for (const command of ['dev', 'up', 'migrate']) {
    expect(ironflow([command], {}), {
      status: 1,
      text: /^ironflow: this command needs the platform itself[^\n]*\n$/,
    });
  }
  expect(ironflow(['doctor'], nowhere), { status: 1, text: /FAIL {2}platform .*cannot be reached/ });
}

async function checkWithPlatform() {
  const args = [at('../bin/ironflow.js'), 'up', '--json', '--port', '0', '--data', join(project, '.data')];
  // Servers of the developer's own are left alone.
  const platform = start(args, { ...process.env, DATABASE_URL: '', NATS_URL: '' });
  const { url, apiKey } = JSON.parse(await said(platform, /^\{.*\}\n/));
  const env = { IRONFLOW_URL: url, IRONFLOW_API_KEY: apiKey };
  const worker = start([join(project, 'out', 'index.js')], { ...process.env, ...env });
  await said(worker, /worker started/);
  expect(ironflow(['doctor'], env), { status: 0, text: /ok {4}functions {2}1 registered/ });
  const emitted = ironflow(['emit', 'greeting.sent', '{"name":"ada"}', '--wait', '20s', '--json'], env);
  expect(emitted, { status: 0, text: /"output": "hello ada"/ });
  const run = JSON.parse(emitted.text).runs[0].id;
  expect(ironflow(['runs', 'show', run], env), { status: 0, text: /greet +\|.*\| +completed/ });
}

function ironflow(args, env) {
  const program = join(project, 'node_modules', '.bin', 'ironflow');
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: project,
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...env },
  });
  return { args, status, text: stdout + stderr };
}

function expect(result, { status, text }) {
  if (result.status === status && text.test(result.text)) return;
  throw new Error(`ironflow ${result.args.join(' ')}: exit code ${result.status}\n${result.text}`);
}

function start(args, env) {
  const child = spawn(process.execPath, args, { cwd: project, env, stdio: ['ignore', 'pipe', 2] });
  ending.push(child);
  return child;
}

function said(child, pattern) {
  return new Promise((resolve, reject) => {
    let text = '';
    const fail = (why) => reject(new Error(`${why}; it said: ${text}`));
    const timer = setTimeout(() => fail('nothing came in time'), readyWithinMs);
    child.once('exit', () => fail('it ended'));
    child.stdout.on('data', (chunk) => {
      text += chunk;
      const match = pattern.exec(text);
      if (match === null) return;
      clearTimeout(timer);
      resolve(match[0]);
    });
  });
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

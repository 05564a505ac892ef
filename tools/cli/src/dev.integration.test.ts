import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { readFileSync, writeFileSync } from 'node:fs';
import { createClient } from '@ironflow/sdk';
import type { Client } from '@ironflow/sdk';
import { createScratch, eventually, freePort } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { isRunning, spawnCli } from './testing/spawned-cli.js';
import type { SpawnedCli } from './testing/spawned-cli.js';

let scratch: Scratch;
let running: SpawnedCli[];

beforeEach(async () => {
  scratch = await createScratch('dev');
  running = [];
});

afterEach(async () => {
  for (const cli of running) cli.signal('SIGTERM');
  await Promise.all(running.map((cli) => cli.ended()));
  await scratch.remove();
});

function start(...args: string[]): SpawnedCli {
  // An empty variable counts as absent: everything is then below the folder's own .ironflow.
  const env = { IRONFLOW_DATA: '', IRONFLOW_PORT: '' };
  const cli = spawnCli([...args, '--port', '0'], { cwd: scratch.path, env });
  running.push(cli);
  return cli;
}

/** What it prints for the user is enough to be a client. */
async function clientOf(cli: SpawnedCli): Promise<Client> {
  const [, ironflowUrl] = await cli.says(/export IRONFLOW_URL=(\S+)/);
  const [, apiKey] = await cli.says(/export IRONFLOW_API_KEY=(\S+)/);
  await cli.says(/Ctrl-C stops it/);
  return createClient({ ironflowUrl, apiKey });
}

function runningServers(): number[] {
  return ['postgres', 'nats'].map((server) => {
    const note = readFileSync(scratch.file('.ironflow', server, 'launch.json'), 'utf8');
    const { serverPid } = JSON.parse(note) as { serverPid: number };
    expect(isRunning(serverPid)).toBe(true);
    return serverPid;
  });
}

function activeFunctions(client: Client, ids: string[]): Promise<void> {
  const check = async (): Promise<void> => {
    const active = (await client.functions.list()).filter(({ status }) => status === 'active');
    expect(active.map(({ id }) => id).sort()).toEqual(ids);
  };
  return eventually(check, { timeoutMs: 15_000, intervalMs: 50 });
}

const sdk = new URL('../../../libs/sdk/dist/index.js', import.meta.url).href;

test('the app starts beside the platform, again on every save, and ends with Ctrl-C with all that it started', async () => {
  const app = scratch.file('app.mjs');
  const source = (id: string): string => `
    import { spawn } from 'node:child_process';
    import { createFunction, createWorker } from '${sdk}';
    const child = spawn('sleep', ['600']);
    console.log('begun ${id}', process.pid, child.pid);
    const log = () => {};
    const hello = createFunction({ id: '${id}', triggers: [{ event: 'hello' }] }, async () => '${id}');
    await createWorker({ app: 'app', functions: [hello], log, handleSignals: false }).start();`;
  writeFileSync(app, source('one'));
  // The command has a process that outlives its shell's wish: the group is ended, not only the shell.
  const cli = start('dev', '--run', `${process.execPath} app.mjs; sleep 600`);
  const [, first, firstChild] = await cli.says(/begun one (\d+) (\d+)/);
  const client = await clientOf(cli);
  const servers = runningServers();
  await activeFunctions(client, ['one']);

  writeFileSync(app, source('two'));
  const [, second, secondChild] = await cli.says(/begun two (\d+) (\d+)/);
  await activeFunctions(client, ['two']);
  expect([first, firstChild].map(Number).filter(isRunning)).toEqual([]);
  const { runs } = await client.emit({ name: 'hello', data: {} }, { wait: '15s' });
  expect(runs).toEqual([expect.objectContaining({ status: 'completed', output: 'two' })]);

  // Several saves at once are one restart; files of data are none.
  writeFileSync(scratch.file('data.json'), '{}');
  for (const id of ['three', 'four']) writeFileSync(app, source(id));
  const [, last, lastChild] = await cli.says(/begun four (\d+) (\d+)/);
  expect(cli.text()).not.toContain('begun three');
  expect(cli.text()).not.toContain('data.json changed');

  cli.signal('SIGINT');
  expect(await cli.ended()).toBe(0);
  const left = [...servers, ...[second, secondChild, last, lastChild].map(Number)].filter(isRunning);
  expect(left).toEqual([]);
}, 150_000);

test('a push app that runs by itself is asked to register once it answers, and on every save', async () => {
  const port = await freePort();
  const app = (ids: string[]): string => `
    import { createServer } from 'node:http';
    import { createFunction, serve } from '${sdk}';
    const functions = ${JSON.stringify(ids)}.map((id) => createFunction({ id, triggers: [] }, async () => id));
    const handler = serve({ app: 'pushed', functions, dev: true, log: () => {} });
    setTimeout(() => createServer(handler.node).listen(${port}, '127.0.0.1'), 300);`;
  writeFileSync(scratch.file('app.mjs'), app(['a']));
  const cli = start('dev', '--run', `exec ${process.execPath} app.mjs`, '--app', `http://127.0.0.1:${port}`);
  await cli.says(/app pushed registered: a\n/);
  const client = await clientOf(cli);
  expect(await client.invoke('a', {}, { wait: '15s' })).toMatchObject({ runs: [{ output: 'a' }] });
  writeFileSync(scratch.file('app.mjs'), app(['b']));
  await cli.says(/app pushed registered: b; archived: a\n/);
}, 150_000);

test('an app that ends is told of, and a save starts it again', async () => {
  writeFileSync(scratch.file('app.js'), `process.exit(3);`);
  const cli = start('dev', '--run', `${process.execPath} app.js`);
  await cli.says(/your app ended \(exit code 3\)/);
  writeFileSync(scratch.file('app.js'), `console.log('up', process.env.IRONFLOW_SIGNING_KEY.slice(0, 6));`);
  await cli.says(/up whsec_/);
  cli.signal('SIGTERM');
  expect(await cli.ended()).toBe(0);
}, 150_000);

test('with --json, up says in one line what a program needs, and no more', async () => {
  const cli = start('up', '--json');
  const [line] = await cli.says(/^\{.*\}\n/);
  const { url, apiKey, signingKey } = JSON.parse(line) as Record<string, string>;
  expect(signingKey).toMatch(/^whsec_/);
  expect(await createClient({ ironflowUrl: url, apiKey }).functions.list()).toEqual([]);
  const servers = runningServers();
  cli.signal('SIGINT');
  expect(await cli.ended()).toBe(0);
  expect(cli.text()).toBe(line);
  expect(servers.filter(isRunning)).toEqual([]);
}, 150_000);

test('a command that fails exits with 1 and one line, as a process too', async () => {
  const env = { DATABASE_URL: `postgresql://somebody:secret@127.0.0.1:${await freePort()}/none` };
  const cli = spawnCli(['migrate'], { cwd: scratch.path, env });
  running.push(cli);
  expect(await cli.ended()).toBe(1);
  expect(cli.text()).toMatch(/^ironflow: DATABASE_URL, 127.0.0.1:\d+\/none: .*ECONNREFUSED.*\n$/);
  expect(cli.text()).not.toContain('secret');
});

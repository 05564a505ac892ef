import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { createScratch, freePort, sharedNats, sharedPostgres, stopSharedServers } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { spawnPlatform } from './testing/platform-process.js';
import type { PlatformProcess } from './testing/platform-process.js';

let scratch: Scratch;
let running: PlatformProcess[];

beforeEach(async () => {
  scratch = await createScratch('platform');
  running = [];
});

afterEach(async () => {
  for (const platform of running) platform.signal('SIGTERM');
  await Promise.all(running.map((platform) => platform.ended()));
  await scratch.remove();
});

afterAll(stopSharedServers);

interface StartOptions {
  dataFolder?: string;
  port?: number;
  env?: NodeJS.ProcessEnv;
}

function start(options: StartOptions = {}): PlatformProcess {
  const platform = spawnPlatform({ dataFolder: scratch.file('data'), ...options });
  running.push(platform);
  return platform;
}

/** It ends by itself with exit code 1; gives what it said. */
async function refuses(options: StartOptions): Promise<string> {
  const platform = start(options);
  expect(await platform.ended()).toBe(1);
  expect(platform.text()).not.toMatch(/^\s+at /m);
  return platform.text();
}

/** Servers whose folders are below the data folder, as far as they run. */
function serversLeft(dataFolder = scratch.file('data')): number[] {
  return ['postgres', 'nats'].flatMap((server) => {
    const note = `${dataFolder}/${server}/launch.json`;
    if (!existsSync(note)) return [];
    const { serverPid } = JSON.parse(readFileSync(note, 'utf8')) as { serverPid: number };
    try {
      process.kill(serverPid, 0);
      return [serverPid];
    } catch {
      return [];
    }
  });
}

const keyOf = async (platform: PlatformProcess): Promise<string> =>
  (await platform.says(/export IRONFLOW_API_KEY=(\S+)/))[1]!;

async function identity(url: string, key: string): Promise<unknown> {
  const response = await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${key}` } });
  return response.json();
}

test('started twice in sequence it finds its data again; meanwhile a second one on the folder is refused', async () => {
  const first = start();
  const key = await keyOf(first);
  await first.says(/Ctrl-C stops it/);
  expect(serversLeft()).toHaveLength(2);
  const refusal = await refuses({});
  expect(refusal).toMatch(
    /^a platform \(process \d+\) already runs on .*data: stop it, or choose another folder/,
  );
  first.signal('SIGINT');
  expect(await first.ended()).toBe(0);
  expect(serversLeft()).toEqual([]);
  const second = start();
  const [, url] = await second.says(/export IRONFLOW_URL=(\S+)/);
  await second.says(/Database schema is current/);
  expect(await keyOf(second)).toBe(key);
  expect(await identity(url!, key)).toMatchObject({ project: 'local', env: 'dev' });
}, 60_000);

test('after kill -9 the next start takes over what was left', async () => {
  const first = start();
  const key = await keyOf(first);
  first.signal('SIGKILL');
  expect(await first.ended()).toBe('SIGKILL');
  expect(await keyOf(start())).toBe(key);
}, 60_000);

test('a signal in the middle of the start ends it cleanly', async () => {
  const platform = start();
  await platform.says(/PostgreSQL on/);
  platform.signal('SIGINT');
  expect(await platform.ended()).toBe(0);
  expect(platform.text()).toContain('Stopping…');
  expect(platform.text()).not.toContain('Ironflow at');
  expect(serversLeft()).toEqual([]);
}, 60_000);

test('a port that is taken is refused before any server is started', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  expect(await refuses({ port })).toBe(
    `port ${port} is taken: is a platform already running? Choose another with IRONFLOW_PORT or --port\n`,
  );
  expect(existsSync(scratch.file('data', 'postgres'))).toBe(false);
  expect(existsSync(scratch.file('data', 'platform.lock'))).toBe(false);
  other.close();
});

test('a port that is none is refused', async () => {
  expect(await refuses({ port: Number.NaN })).toMatch(/^IRONFLOW_PORT: must be a port number/);
});

test('a data folder that cannot be written is refused by name', async () => {
  writeFileSync(scratch.file('file'), '');
  expect(await refuses({ dataFolder: scratch.file('file') })).toMatch(
    /^the data folder .*file cannot be written \(EEXIST.*\): choose another with IRONFLOW_DATA\n$/,
  );
  expect(await refuses({ dataFolder: scratch.file('file', 'below') })).toContain(
    'cannot be written (ENOTDIR',
  );
});

test('secrets that cannot be read are not replaced by new ones', async () => {
  mkdirSync(scratch.file('data'));
  writeFileSync(scratch.file('data', 'secrets.json'), '{"masterKey":');
  expect(await refuses({})).toMatch(/secrets.json cannot be used: /);
  expect(readFileSync(scratch.file('data', 'secrets.json'), 'utf8')).toBe('{"masterKey":');
});

test('a nats-server that is too old is refused, and nothing is left behind', async () => {
  const program = scratch.file('nats-server');
  writeFileSync(program, oldNatsServer, { mode: 0o755 });
  const text = await refuses({ env: { NATS_SERVER_BIN: program } });
  expect(text).toMatch(/\nnats-server 2.10.29 is too old: 2.12 or newer is needed\n$/);
  expect(serversLeft()).toEqual([]);
}, 60_000);

test('servers of somebody else that cannot be reached, or are something else, are named by their variables', async () => {
  const port = await freePort();
  const env = { DATABASE_URL: `postgresql://me:hunter2@127.0.0.1:${port}/mine` };
  expect(await refuses({ env })).toMatch(
    new RegExp(
      `^DATABASE_URL, 127.0.0.1:${port}/mine: the database cannot serve this now \\(ECONNREFUSED\\)\n$`,
    ),
  );
  expect(await refuses({ env: { DATABASE_URL: 'mine' } })).toBe(
    'DATABASE_URL: must be a postgresql:// URL\n',
  );
  expect(await refuses({ env: { NATS_URL: `nats://me:hunter2@127.0.0.1:${port}` } })).toBe(
    `NATS_URL, 127.0.0.1:${port} cannot be reached (ECONNREFUSED)\n`,
  );
  expect(await refuses({ env: { NATS_URL: 'http://x' } })).toMatch(/^NATS_URL: must be nats:\/\/ URLs/);
  expect(serversLeft()).toEqual([]);
}, 60_000);

test('a NATS of somebody else must be new enough and have JetStream', async () => {
  const greet = async (greeting: object): Promise<string> => {
    const server = createServer((socket) => socket.end(`INFO ${JSON.stringify(greeting)} \r\n`)).unref();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `nats://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const old = await greet({ version: '2.11.4', jetstream: true });
  expect(await refuses({ env: { NATS_URL: old } })).toContain('nats-server 2.11.4 is too old: 2.12 or newer');
  const plain = await greet({ version: '2.12.0' });
  expect(await refuses({ env: { NATS_URL: plain } })).toContain(
    'has no JetStream: start nats-server with -js',
  );
});

test('servers of somebody else are used, and run on when the platform ends', async () => {
  const postgres = await sharedPostgres();
  const nats = await sharedNats();
  const env = { DATABASE_URL: await postgres.createEmptyDatabase(), NATS_URL: nats.url };
  const first = start({ env });
  const key = await keyOf(first);
  const [, url] = await first.says(/Ironflow at (\S+)/);
  expect(await identity(url!, key)).toMatchObject({ project: 'local', env: 'dev' });
  expect(first.text()).not.toContain('embedded');
  expect(existsSync(scratch.file('data', 'postgres'))).toBe(false);
  await first.says(/Ctrl-C stops it/);
  first.signal('SIGTERM');
  expect(await first.ended()).toBe(0);
  const second = start({ env });
  await second.says(/Database schema is current/);
  expect(await keyOf(second)).toBe(key);
}, 60_000);

/** As much of one as the launcher asks for. */
const oldNatsServer = `#!${process.execPath}
const { readFileSync } = require('node:fs');
const config = JSON.parse(readFileSync(process.argv[process.argv.indexOf('--config') + 1], 'utf8'));
const portOf = (address) => Number(address.split(':').at(-1));
const info = { server_name: config.server_name, version: '2.10.29', jetstream: true };
require('node:net').createServer((socket) => {
  socket.on('error', () => {});
  socket.write('INFO ' + JSON.stringify(info) + ' \\r\\n');
}).listen(portOf(config.listen), '127.0.0.1');
require('node:http').createServer((request, response) => response.end('{"status":"ok"}')).listen(portOf(config.http), '127.0.0.1');
`;

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { eventually } from './eventually.js';
import { startNatsCluster } from './nats-cluster.js';
import { checkNatsVersion } from './nats-readiness.js';
import { startNatsServer, type NatsServer } from './nats-server.js';
import { createScratch, type Scratch } from './scratch.js';

let scratch: Scratch;
let started: { stop(): Promise<void> }[];

beforeEach(async () => {
  scratch = await createScratch('nats-test');
  started = [];
});

afterEach(async () => {
  await Promise.all(started.map((server) => server.stop()));
  await scratch.remove();
});

async function start(options: Partial<Parameters<typeof startNatsServer>[0]> = {}): Promise<NatsServer> {
  const server = await startNatsServer({ storeDir: scratch.file('store'), ...options });
  started.push(server);
  return server;
}

/** One request in NATS' own text protocol: this package knows no NATS client. */
function request(port: number, subject: string, body: object = {}): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    const payload = JSON.stringify(body);
    let text = '';
    socket.once('error', reject);
    socket.setTimeout(2_000, () => socket.destroy(new Error(`${subject} is not answered`)));
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      const answer = /MSG inbox 1 \d+\r\n(.*)\r\n/.exec(text)?.[1];
      if (answer === undefined) return;
      socket.destroy();
      resolve(JSON.parse(answer) as Record<string, unknown>);
    });
    const publish = `PUB ${subject} inbox ${Buffer.byteLength(payload)}\r\n${payload}\r\n`;
    socket.write(`CONNECT {"verbose":false}\r\nSUB inbox 1\r\n${publish}`);
  });
}

async function createStream(port: number, replicas = 1): Promise<void> {
  const config = { name: 'KEPT', subjects: ['kept.>'], num_replicas: replicas };
  expect(await request(port, '$JS.API.STREAM.CREATE.KEPT', config)).not.toHaveProperty('error');
  expect(await request(port, 'kept.one')).toMatchObject({ stream: 'KEPT', seq: 1 });
}

async function storedMessages(port: number): Promise<unknown> {
  const info = await request(port, '$JS.API.STREAM.INFO.KEPT');
  return (info['state'] as { messages: number } | undefined)?.messages;
}

test('what is stored survives a stop and a restart, on the same port', async () => {
  const server = await start();
  await createStream(server.port);
  const { url, pid } = server;
  await server.restart();
  expect(server.url).toBe(url);
  expect(server.pid).not.toBe(pid);
  expect(await storedMessages(server.port)).toBe(1);
});

test('what is stored survives kill -9, and a second launcher finds it', async () => {
  const server = await start({ syncAlways: true });
  await createStream(server.port);
  await server.kill();
  const successor = await start();
  expect(await storedMessages(successor.port)).toBe(1);
});

test('a restart with wipe loses everything, as a lost disk does', async () => {
  const server = await start();
  await createStream(server.port);
  await server.kill();
  await server.restart({ wipe: true });
  expect(await storedMessages(server.port)).toBeUndefined();
  await createStream(server.port);
});

test('settings reach the server', async () => {
  const server = await start({ serverName: 'chosen', maxPayloadBytes: 123_456, syncAlways: true });
  const variables = (await (await fetch(`${server.monitorUrl}/varz`)).json()) as Record<string, unknown>;
  expect(variables).toMatchObject({
    server_name: 'chosen',
    max_payload: 123_456,
    jetstream: { config: { sync_always: true } },
  });
});

test('a taken port is refused by number, and the server that has it goes on', async () => {
  const server = await start();
  const second = startNatsServer({ storeDir: scratch.file('second'), port: server.port });
  await expect(second).rejects.toMatchObject({
    code: 'port_taken',
    message: expect.stringContaining(`port ${server.port}`),
  });
  expect((await fetch(`${server.monitorUrl}/healthz`)).ok).toBe(true);
});

test('a second server on the folder of a running one is refused', async () => {
  const server = await start();
  await expect(startNatsServer({ storeDir: scratch.file('store') })).rejects.toMatchObject({
    code: 'data_folder_in_use',
    message: expect.stringContaining(`process ${server.pid}`),
  });
});

test('a folder that cannot be made is refused by name', async () => {
  await writeFile(scratch.file('file'), '');
  await expect(startNatsServer({ storeDir: scratch.file('file', 'store') })).rejects.toMatchObject({
    code: 'data_folder_unwritable',
    message: expect.stringContaining(scratch.file('file', 'store')),
  });
});

test('a server that cannot start tells what it said', async () => {
  await expect(start({ serverName: 'with space' })).rejects.toMatchObject({
    code: 'nats_server_failed',
    message: expect.stringContaining('server name cannot contain spaces'),
  });
});

test('a server older than 2.12 is refused', () => {
  expect(() => checkNatsVersion('2.11.9')).toThrow('nats-server 2.11.9 is too old');
  expect(() => checkNatsVersion('2.12.0')).not.toThrow();
  expect(() => checkNatsVersion('3.0.0')).not.toThrow();
});

test('a cluster of three keeps its data when a node is killed, and takes the node back', async () => {
  const cluster = await startNatsCluster({ storeDir: scratch.path });
  started.push(cluster);
  const [first, second, third] = cluster.servers as [NatsServer, NatsServer, NatsServer];
  await createStream(first.port, 3);
  await third.kill();
  await cluster.waitUntilReady([first, second]);
  const messages = async () => expect(await storedMessages(first.port)).toBe(1);
  await eventually(messages, { timeoutMs: 20_000, intervalMs: 100 });
  await third.restart();
  await cluster.waitUntilReady();
});

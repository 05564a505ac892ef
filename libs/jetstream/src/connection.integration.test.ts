import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createScratch, eventually, sharedNats, startNatsServer, stopSharedServers } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { connectNats } from './connection.js';
import type { Connection, ConnectionOptions, ConnectionStatus } from './connection.js';

let server: NatsServer;
beforeAll(async () => {
  server = await sharedNats();
});
afterAll(() => stopSharedServers());

async function connect(changes: Partial<ConnectionOptions> = {}) {
  const statuses: ConnectionStatus[] = [];
  const onStatus = (status: ConnectionStatus): void => void statuses.push(status);
  const connection = await connectNats({ url: server.url, name: 'test', onStatus, ...changes });
  return { connection, statuses };
}

async function closeInTime(connection: Connection): Promise<void> {
  const startedAtMs = performance.now();
  await connection.close();
  expect(performance.now() - startedAtMs).toBeLessThan(3_000);
  expect(connection.nats.isClosed()).toBe(true);
  expect(connection.isConnected()).toBe(false);
}

test('closing sends what was published before, and closing twice is closing once', async () => {
  const { connection } = await connect();
  const listener = (await connect()).connection;
  const heard: string[] = [];
  listener.listen('farewell', (message) => heard.push(message.string()));
  await listener.nats.flush();
  connection.publish({ subject: 'farewell', data: 'last words' });
  await Promise.all([closeInTime(connection), closeInTime(connection)]);
  await closeInTime(connection);
  await eventually(() => expect(heard).toEqual(['last words']));
  await closeInTime(listener);
});

test('closing while the server is away ends what waits for it, and nothing connects again afterwards', async () => {
  const { connection, statuses } = await connect();
  connection.listen('something', () => undefined);
  await server.kill();
  await eventually(() => expect(connection.isConnected()).toBe(false));
  const waiting = connection.request({ subject: 'something', data: '' });
  await closeInTime(connection);
  expect(await waiting).toEqual({ kind: 'unanswered' });
  await server.restart();
  const other = (await connect()).connection;
  await other.nats.flush();
  expect(await connection.request({ subject: 'something', data: '' })).toEqual({ kind: 'unanswered' });
  await eventually(() => expect(statuses).toEqual(['disconnected', 'closed']));
  await closeInTime(other);
});

test('closing as the server goes neither hangs nor rejects', async () => {
  const { connection } = await connect();
  connection.listen('something', () => undefined);
  await Promise.all([server.kill(), closeInTime(connection)]);
  await server.restart();
});

test('what is asked or sent as the connection closes, or afterwards, is unanswered at once and no error', async () => {
  const warnings: string[] = [];
  const log = { info: () => undefined, warn: (message: string) => warnings.push(message) };
  const { connection } = await connect({ log });
  const closed = connection.close();
  const request = { subject: 'something', data: 'x'.repeat(2_000_000) };
  expect(await connection.request(request)).toEqual({ kind: 'unanswered' });
  connection.publish(request);
  await closed;
  expect(await connection.request(request)).toEqual({ kind: 'unanswered' });
  connection.publish(request);
  expect(warnings).toEqual([]);
});

test('a request reported as unanswered before it was sent is never sent, one that still waits is', async () => {
  const { connection } = await connect({ requestTimeoutMs: 1_500 });
  const heard: string[] = [];
  connection.listen('orders', (message) => {
    heard.push(message.string());
    message.respond('done');
  });
  await connection.nats.flush();
  await server.kill();
  await eventually(() => expect(connection.isConnected()).toBe(false));
  const first = await connection.request({ subject: 'orders', data: 'first' });
  expect(first).toEqual({ kind: 'unanswered' });
  const second = connection.request({ subject: 'orders', data: 'second' });
  await server.restart();
  expect((await second).kind).toBe('message');
  await connection.nats.flush();
  expect(heard).toEqual(['second']);
  await closeInTime(connection);
});

test('a listener that cannot read a message is logged with the subject and nothing of the message', async () => {
  const warnings: string[] = [];
  const log = { info: () => undefined, warn: (message: string) => warnings.push(message) };
  const { connection } = await connect({ log });
  connection.listen('orders.*', (message) => void message.json());
  connection.publish({ subject: 'orders.a', data: 'hunter2' });
  await eventually(() => expect(warnings).toHaveLength(1));
  expect(warnings[0]).toContain('orders.a');
  expect(warnings[0]).not.toContain('hunter2');
  await closeInTime(connection);
});

test.each([
  ['a user with its password', { user: 'service', password: 'p@ss:word' }],
  ['a token', { token: 'secret' }],
])('a server that asks for %s is given it', async (_, credentials) => {
  const scratch = await createScratch('nats-auth');
  const guarded = await startNatsServer({ storeDir: scratch.path, authorization: credentials });
  const { connection } = await connect({ url: guarded.url, ...credentials });
  await connection.nats.flush();
  await closeInTime(connection);
  await expect(connect({ url: guarded.url })).rejects.toMatchObject({ code: 'nats_unavailable' });
  await guarded.kill();
  await scratch.remove();
});

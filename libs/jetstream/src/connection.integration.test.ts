import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { connectNats } from './connection.js';
import type { Connection, ConnectionStatus } from './connection.js';

let server: NatsServer;
beforeAll(async () => {
  server = await sharedNats();
});
afterAll(() => stopSharedServers());

async function connect(): Promise<{ connection: Connection; statuses: ConnectionStatus[] }> {
  const statuses: ConnectionStatus[] = [];
  const onStatus = (status: ConnectionStatus): void => void statuses.push(status);
  return { connection: await connectNats({ url: server.url, name: 'test', onStatus }), statuses };
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

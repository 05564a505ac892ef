import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { createHash } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { WebSocketServer } from 'ws';
import { connect } from './connection.js';

const heartbeat = { pingEveryMs: 20, silenceMsMax: 100 };

test('a peer that has fallen silent is given up, although its connection stands', async () => {
  // Completes the handshake and never says anything again: not even a pong.
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (head) => {
      const key = /sec-websocket-key: (.*)\r\n/i.exec(head.toString())![1]!;
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
      socket.write([...lines, `Sec-WebSocket-Accept: ${accept}`, '', ''].join('\r\n'));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  let opened = false;
  const connection = connect({
    url: `http://127.0.0.1:${port}`,
    apiKey: 'ifk_test',
    onOpen: () => (opened = true),
    onMessage: () => {},
    heartbeat,
  });
  expect(await connection.ended).toEqual({ reason: 'nothing was heard for 100 ms' });
  expect(opened).toBe(true);
  await new Promise((resolve) => server.close(resolve));
});

test('a peer that only answers pings is kept', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', path: '/v1/workers' });
  await new Promise((resolve) => server.once('listening', resolve));
  const pings = new Promise<void>((resolve) => {
    server.on('connection', (socket) => {
      let count = 0;
      // Far more of them than fit into the silence that is allowed.
      socket.on('ping', () => ++count === 20 && resolve());
    });
  });
  const { port } = server.address() as AddressInfo;
  let ended = false;
  const connection = connect({
    url: `http://127.0.0.1:${port}`,
    apiKey: 'ifk_test',
    onOpen: () => {},
    onMessage: () => {},
    heartbeat,
  });
  void connection.ended.then(() => (ended = true));
  await pings;
  expect(ended).toBe(false);
  connection.close();
  expect(await connection.ended).toEqual({ reason: 'closed with code 1000' });
  await new Promise((resolve) => server.close(resolve));
});

test('a handshake that is refused says with which status', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const connection = connect({ url, apiKey: 'ifk_test', onOpen: () => {}, onMessage: () => {} });
  expect(await connection.ended).toMatchObject({ refusedWithStatus: 401 });
  await new Promise((resolve) => server.close(resolve));
});

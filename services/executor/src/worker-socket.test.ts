import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { WebSocket, WebSocketServer } from 'ws';
import type { ExecutorMessage } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { createWorkerSocket } from './worker-socket.js';
import type { WorkerSocket } from './worker-socket.js';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

async function setup() {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const sockets = new WebSocketServer({ server });
  undo.push(() => new Promise((resolve) => server.close(resolve)));
  let uncongested = 0;
  let isGone = false;
  let socket: WorkerSocket | undefined;
  sockets.on('connection', (webSocket) => {
    undo.push(() => webSocket.terminate());
    socket = createWorkerSocket(webSocket, {
      onMessage: () => undefined,
      onUncongested: () => (uncongested += 1),
      onClose: () => (isGone = true),
    });
  });
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const frames: { bytes: number; messages: ExecutorMessage[] }[] = [];
  client.on('message', (data: Buffer) => {
    frames.push({ bytes: data.length, messages: JSON.parse(data.toString('utf8')) as ExecutorMessage[] });
  });
  undo.push(() => client.terminate());
  await new Promise((resolve) => client.once('open', resolve));
  await eventually(() => expect(socket).toBeDefined());
  return { socket: socket!, client, frames, uncongested: () => uncongested, isGone: () => isGone };
}

const mebibyte = 1024 * 1024;
const abort = (reason: string): ExecutorMessage => ({
  type: 'abort',
  runId: '0190a000-0000-7000-8000-000000000001',
  writer: { activation: 1, delivery: 1, executor: 'x' },
  reason,
});

test('messages of one turn go out together, in frames of about a mebibyte, in order', async () => {
  const { socket, frames } = await setup();
  const text = 'é'.repeat(100_000);
  for (let index = 0; index < 50; index += 1) socket.send(abort(`${index} ${text}`));
  await eventually(() => expect(frames.flatMap(({ messages }) => messages)).toHaveLength(50));
  expect(frames.length).toBeLessThan(10);
  for (const { bytes } of frames) expect(bytes).toBeLessThan(2.1 * mebibyte);
  const order = frames.flatMap(({ messages }) =>
    messages.map((message) => message.type === 'abort' && Number.parseInt(message.reason, 10)),
  );
  expect(order).toEqual(Array.from({ length: 50 }, (_, index) => index));
});

test('a message larger than a frame arrives whole, and those around it', async () => {
  const { socket, frames } = await setup();
  const text = '€'.repeat(3 * mebibyte);
  socket.send({ type: 'drained' });
  socket.send(abort(text));
  socket.send({ type: 'drained' });
  const messages = await eventually(() => {
    const all = frames.flatMap((frame) => frame.messages);
    expect(all).toHaveLength(3);
    return all;
  });
  expect(messages.map(({ type }) => type)).toEqual(['drained', 'abort', 'drained']);
  expect(messages[1]).toEqual(abort(text));
});

test('a peer that does not read for a while is congested, not cut off, and told of once it has read', async () => {
  const { socket, client, frames, uncongested, isGone } = await setup();
  client.pause();
  const text = 'x'.repeat(mebibyte);
  for (let index = 0; index < 100; index += 1) socket.send(abort(text));
  expect(socket.isCongested()).toBe(true);
  await new Promise((resolve) => setImmediate(resolve));
  expect(uncongested()).toBe(0);
  client.resume();
  await eventually(() => expect(uncongested()).toBe(1), { timeoutMs: 20_000 });
  expect(socket.isCongested()).toBe(false);
  await eventually(() => expect(frames.flatMap(({ messages }) => messages)).toHaveLength(100), {
    timeoutMs: 20_000,
  });
  expect(isGone()).toBe(false);
});

test('a peer that neither reads nor answers is gone after the silence time', async () => {
  const { socket, client, isGone } = await setup();
  client.pause();
  const text = 'x'.repeat(mebibyte);
  for (let index = 0; index < 100; index += 1) socket.send(abort(text));
  await eventually(() => expect(isGone()).toBe(true), { timeoutMs: 20_000, intervalMs: 100 });
}, 30_000);

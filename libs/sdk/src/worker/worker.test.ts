/** The worker against an executor that lives in this file and speaks the protocol over a real WebSocket. */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { executorMessageSchema, workerMessageSchema } from '@ironflow/schema';
import type { ExecutorMessage, MemoizedStep, WorkerMessage, Writer } from '@ironflow/schema';
import { createFunction } from '../function.js';
import type { IronflowFunction } from '../function.js';
import { createWorker } from './worker.js';
import type { Worker, WorkerOptions } from './worker.js';

const runIdOf = (n: number) => `0192f0c0-0000-7000-8000-${String(n).padStart(12, '0')}`;
const writer: Writer = { activation: 1, delivery: 1, executor: 'executor-1' };

interface Peer {
  url: string;
  registrations: unknown[];
  sockets: WebSocket[];
  /** The next message of a kind, of any socket. */
  next<T extends WorkerMessage['type']>(type: T): Promise<Extract<WorkerMessage, { type: T }>>;
  received: WorkerMessage[];
  send(...messages: ExecutorMessage[]): void;
  /** Acknowledge records as they come; default true. */
  acknowledge: boolean;
  refuse: ExecutorMessage | undefined;
}

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startPeer(): Promise<Peer> {
  const waiting: { type: string; resolve: (message: never) => void }[] = [];
  const unread: WorkerMessage[] = [];
  const peer: Peer = {
    url: '',
    registrations: [],
    sockets: [],
    received: [],
    acknowledge: true,
    refuse: undefined,
    next: (type) => {
      const index = unread.findIndex((message) => message.type === type);
      if (index !== -1) return Promise.resolve(unread.splice(index, 1)[0] as never);
      return new Promise((resolve) => waiting.push({ type, resolve }));
    },
    send(...messages) {
      for (const message of messages) executorMessageSchema.parse(message);
      peer.sockets.at(-1)!.send(JSON.stringify(messages));
    },
  };
  const deliver = (message: WorkerMessage) => {
    peer.received.push(message);
    const index = waiting.findIndex(({ type }) => type === message.type);
    if (index === -1) unread.push(message);
    else waiting.splice(index, 1)[0]!.resolve(message as never);
  };
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => {
      peer.registrations.push([request.method, request.url, request.headers.authorization, JSON.parse(text)]);
      response.end(JSON.stringify({ appId: 'shop', registered: [], unchanged: [], archived: [] }));
    });
  });
  const sockets = new WebSocketServer({ server, path: '/v1/workers' });
  sockets.on('connection', (socket) => {
    peer.sockets.push(socket);
    socket.on('message', (data: Buffer) => {
      for (const raw of JSON.parse(data.toString()) as unknown[]) {
        const message = workerMessageSchema.parse(raw);
        if (message.type === 'hello') {
          peer.send(peer.refuse ?? { type: 'welcome', v: 1, executor: 'executor-1' });
          if (peer.refuse !== undefined) socket.close();
        }
        if (message.type === 'record' && peer.acknowledge) {
          const { runId, writer: lease, sequence } = message;
          peer.send({ type: 'recorded', runId, writer: lease, sequence });
        }
        deliver(message);
      }
    });
  });
  await listen(server);
  peer.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  cleanups.push(async () => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return peer;
}

async function listen(server: Server): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
}

function startWorker(peer: Peer, functions: IronflowFunction[], more: Partial<WorkerOptions> = {}): Worker {
  const worker = createWorker({
    app: 'shop',
    functions,
    ironflowUrl: peer.url,
    apiKey: 'ifk_test',
    handleSignals: false,
    log: () => {},
    ...more,
  });
  cleanups.push(() => worker.stop({ timeoutMs: 0 }));
  return worker;
}

function activation(
  n: number,
  functionId: string,
  over: { writer?: Writer; memo?: MemoizedStep[]; v?: number } = {},
) {
  return {
    type: 'activate',
    writer: over.writer ?? writer,
    invocation: {
      v: over.v ?? 1,
      run: { id: runIdOf(n), functionId, attempt: 1 },
      event: { id: runIdOf(0), name: 'x', data: `{"n":${n}}`, receivedAtMs: 1, correlationId: 'c' },
      memo: over.memo ?? [],
    },
  } satisfies ExecutorMessage;
}

const counting = createFunction({ id: 'count', triggers: [{ event: 'x' }] }, async ({ event, step }) => {
  const { n } = event.data as { n: number };
  const one = await step.run('one', () => n + 1);
  return step.run('two', () => one + 1);
});

/** Holds on until it is aborted or released, and says that it began. */
function createHolding() {
  let begun!: () => void;
  let aborted!: (reason: unknown) => void;
  let release!: () => void;
  const began = new Promise<void>((resolve) => (begun = resolve));
  const wasAborted = new Promise<unknown>((resolve) => (aborted = resolve));
  const released = new Promise<void>((resolve) => (release = resolve));
  const definition = createFunction({ id: 'hold', triggers: [] }, ({ step }) =>
    step.run('hold', async ({ signal }) => {
      signal.addEventListener('abort', () => aborted(signal.reason));
      begun();
      await released;
      return 'held';
    }),
  );
  return { definition, began, wasAborted, release };
}

describe('a worker', () => {
  test('registers its app, says hello, and drives a run record by record', async () => {
    const peer = await startPeer();
    const worker = startWorker(peer, [counting], { slots: 7 });
    await worker.start();
    expect(peer.registrations).toMatchObject([
      ['PUT', '/v1/apps/shop', 'Bearer ifk_test', { id: 'shop', mode: 'pull', functions: [{ id: 'count' }] }],
    ]);
    expect(await peer.next('hello')).toMatchObject({ v: 1, appId: 'shop', slots: 7 });
    peer.send(activation(1, 'count'));
    // The last step's record needs no message of its own: it comes with the end.
    expect(await peer.next('end')).toMatchObject({
      runId: runIdOf(1),
      writer,
      records: [{ id: 'two', status: 'completed' }],
      outcome: { kind: 'completed', output: '3' },
    });
    const records = peer.received.filter((message) => message.type === 'record');
    expect(records).toMatchObject([{ sequence: 0, records: [{ id: 'one', status: 'completed' }] }]);
  });

  test('begins the next step only when the one before is acknowledged, under the same lease', async () => {
    const peer = await startPeer();
    peer.acknowledge = false;
    await startWorker(peer, [counting]).start();
    peer.send(activation(1, 'count'));
    const { runId, sequence } = await peer.next('record');
    const stranger = { ...writer, delivery: 2 };
    // Another lease's acknowledgement is not ours; a second run's round trip shows that it was passed over.
    peer.send({ type: 'recorded', runId, writer: stranger, sequence }, activation(2, 'count'));
    expect(await peer.next('record')).toMatchObject({ runId: runIdOf(2), sequence: 0 });
    expect(peer.received.filter((message) => message.type === 'record')).toHaveLength(2);
    peer.send({ type: 'recorded', runId, writer, sequence });
    expect(await peer.next('end')).toMatchObject({ runId, records: [{ id: 'two' }] });
  });

  test('replays what is recorded and runs the rest', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    const memo = [
      { id: 'one', type: 'run', attempt: 1, status: 'completed', output: '41', order: 0 },
    ] as const;
    peer.send(activation(1, 'count', { memo: [...memo] }));
    expect(await peer.next('end')).toMatchObject({ outcome: { kind: 'completed', output: '42' } });
  });

  test('aborts what it runs when the connection is lost, sends nothing more of it, and connects again', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    await startWorker(peer, [counting, holding.definition]).start();
    await peer.next('hello');
    peer.send(activation(1, 'hold'));
    await holding.began;
    peer.sockets[0]!.terminate();
    expect(await holding.wasAborted).toMatchObject({ message: expect.stringContaining('connection') });
    await peer.next('hello');
    holding.release();
    peer.send(activation(2, 'count'));
    expect((await peer.next('end')).runId).toBe(runIdOf(2));
    expect(peer.received.some((message) => 'runId' in message && message.runId === runIdOf(1))).toBe(false);
  });

  test('aborts a run whose lease is over, and keeps one whose lease is another', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    await startWorker(peer, [holding.definition]).start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    peer.send({
      type: 'abort',
      runId: runIdOf(1),
      writer: { ...writer, activation: 9 },
      reason: 'not this one',
    });
    peer.send({ type: 'abort', runId: runIdOf(1), writer, reason: 'cancelled' });
    expect(await holding.wasAborted).toMatchObject({ message: 'cancelled' });
    expect(peer.received.some(({ type }) => type === 'end')).toBe(false);
  });

  test('lets a newer activation of a run take over, and passes over an older one', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    await startWorker(peer, [holding.definition]).start();
    const newer = { ...writer, activation: 2 };
    peer.send(activation(1, 'hold'));
    await holding.began;
    peer.send(activation(1, 'hold', { writer: newer }), activation(1, 'hold'));
    await holding.wasAborted;
    holding.release();
    expect(await peer.next('end')).toMatchObject({ writer: newer, outcome: { kind: 'completed' } });
    expect(peer.received.filter(({ type }) => type === 'end')).toHaveLength(1);
  });

  test('hands back a run of a function it does not have, to be tried again', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    peer.send(activation(1, 'of-a-newer-build'));
    const { outcome } = await peer.next('end');
    expect(outcome).toMatchObject({ kind: 'threw', error: { name: 'function_not_found' } });
    expect(outcome).toHaveProperty('retryInMs');
  });

  test('passes over messages of a type it does not know, and fields too', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    const future = { ...activation(1, 'count'), colour: 'blue' };
    peer.sockets[0]!.send(JSON.stringify([{ type: 'weather', sunny: true }, future]));
    expect(await peer.next('end')).toMatchObject({ outcome: { kind: 'completed' } });
  });

  test('gives up a connection on which it is sent what does not fit the protocol', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    await peer.next('hello');
    peer.sockets[0]!.send(JSON.stringify([{ type: 'activate', writer }]));
    await peer.next('hello');
    expect(peer.sockets).toHaveLength(2);
  });

  test('finishes what runs when it is stopped, takes nothing new, and says that it drains', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    const worker = startWorker(peer, [holding.definition]);
    await worker.start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    const stopped = worker.stop({ timeoutMs: 10_000 });
    await peer.next('drain');
    holding.release();
    expect(await peer.next('end')).toMatchObject({ outcome: { kind: 'completed', output: '"held"' } });
    expect(await stopped).toEqual({ aborted: 0 });
    expect(peer.sockets).toHaveLength(1);
  });

  test('aborts what still runs when the time to stop is over', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    const worker = startWorker(peer, [holding.definition]);
    await worker.start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    expect(await worker.stop({ timeoutMs: 20 })).toEqual({ aborted: 1 });
    expect(await holding.wasAborted).toMatchObject({ message: 'the worker is stopping' });
    expect(peer.received.some(({ type }) => type === 'end')).toBe(false);
  });

  test('does not start when the platform refuses it', async () => {
    const peer = await startPeer();
    peer.refuse = { type: 'refused', code: 'forbidden', message: 'this key may not run workers' };
    await expect(startWorker(peer, [counting]).start()).rejects.toMatchObject({ code: 'forbidden' });
  });

  test('can be stopped while the platform is out of reach', async () => {
    const worker = createWorker({
      app: 'shop',
      functions: [counting],
      ironflowUrl: 'http://127.0.0.1:1',
      apiKey: 'ifk_test',
      handleSignals: false,
      log: () => {},
    });
    const started = worker.start().catch((error: unknown) => error);
    await worker.stop();
    expect(await started).toBeInstanceOf(Error);
  });

  test('drains on SIGTERM, and leaves the signal to others afterwards', async () => {
    const peer = await startPeer();
    let others = 0;
    const other = () => (others += 1);
    process.on('SIGTERM', other);
    const worker = startWorker(peer, [counting], { handleSignals: true });
    await worker.start();
    process.emit('SIGTERM');
    await peer.next('drain');
    expect(await worker.stop()).toEqual({ aborted: 0 });
    expect(process.listeners('SIGTERM')).toEqual(expect.arrayContaining([other]));
    expect(others).toBe(1);
    process.off('SIGTERM', other);
  });

  test('drives many runs at once', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    peer.send(...Array.from({ length: 100 }, (_, n) => activation(n, 'count')));
    const outputs = new Map<string, unknown>();
    for (let n = 0; n < 100; n += 1) {
      const end = await peer.next('end');
      outputs.set(end.runId, end.outcome);
    }
    expect(outputs.size).toBe(100);
    expect(outputs.get(runIdOf(40))).toEqual({ kind: 'completed', output: '42' });
  });

  test('refuses options that break a rule, naming them', () => {
    const options = { app: 'shop', functions: [counting], apiKey: 'ifk_test' };
    expect(() => createWorker({ ...options, slots: 0 })).toThrow(/slots/);
    expect(() => createWorker({ ...options, app: 'a b' })).toThrow(/^app: must be 1 to 128/);
    expect(() => createWorker({ ...options, functions: [counting, counting] })).toThrow(
      /"count" is given twice/,
    );
  });
});

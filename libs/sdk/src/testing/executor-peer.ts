/** An executor that speaks the protocol over a real WebSocket, and functions for it to activate: for tests of the worker. */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { executorMessageSchema, workerMessageSchema } from '@ironflow/schema';
import type { ExecutorMessage, MemoizedStep, WorkerMessage, Writer } from '@ironflow/schema';
import { createFunction } from '../function.js';

export const runIdOf = (n: number) => `0192f0c0-0000-7000-8000-${String(n).padStart(12, '0')}`;
export const writer: Writer = { activation: 1, delivery: 1, executor: 'executor-1' };

export interface Peer {
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
  /** Says at once that nothing more is activated; default true. */
  answerDrain: boolean;
  /** Of the protocol, as it says in its welcome. */
  v: number;
  close(): Promise<void>;
}

export async function startPeer(): Promise<Peer> {
  const waiting: { type: string; resolve: (message: never) => void }[] = [];
  const unread: WorkerMessage[] = [];
  const peer: Peer = {
    url: '',
    registrations: [],
    sockets: [],
    received: [],
    acknowledge: true,
    refuse: undefined,
    answerDrain: true,
    v: 1,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
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
    const reply = (message: ExecutorMessage) => socket.send(JSON.stringify([message]));
    socket.on('message', (data: Buffer) => {
      for (const raw of JSON.parse(data.toString()) as unknown[]) {
        const message = workerMessageSchema.parse(raw);
        if (message.type === 'hello') {
          reply(peer.refuse ?? { type: 'welcome', v: peer.v, executor: 'executor-1' });
          if (peer.refuse !== undefined) socket.close();
        }
        if (message.type === 'record' && peer.acknowledge) {
          const { runId, writer: lease, sequence } = message;
          reply({ type: 'recorded', runId, writer: lease, sequence });
        }
        if (message.type === 'drain' && peer.answerDrain) reply({ type: 'drained' });
        deliver(message);
      }
    });
  });
  await listen(server);
  peer.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return peer;
}

async function listen(server: Server): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
}

export function activation(
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

export const counting = createFunction(
  { id: 'count', triggers: [{ event: 'x' }] },
  async ({ event, step }) => {
    const { n } = event.data as { n: number };
    const one = await step.run('one', () => n + 1);
    return step.run('two', () => one + 1);
  },
);

/** Holds on until it is aborted or released, and says that it began. */
export function createHolding() {
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

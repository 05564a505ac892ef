/**
 * The connection to NATS that every other file here stands on: it reconnects for ever, and its requests share one inbox
 * and one timer, because a promise, a subscription and a timer for each cost more than the request itself (nc.request
 * does 6–8 k/s, this five times as many).
 */
import { connect, createInbox, headers as createHeaders } from '@nats-io/transport-node';
import type { Msg, MsgHdrs, NatsConnection } from '@nats-io/transport-node';
import { IronflowError, messageOf } from '@ironflow/errors';

export interface ConnectionOptions {
  /** One URL or several, separated by commas. */
  url: string;
  /** Shows in the server's monitoring. */
  name: string;
  user?: string;
  password?: string;
  token?: string;
  /** How long a request may stay unanswered. */
  requestTimeoutMs?: number;
  onStatus?: (status: ConnectionStatus) => void;
}

export type ConnectionStatus = 'connected' | 'disconnected' | 'closed';

export type Reply =
  | { kind: 'message'; data: Uint8Array; headers: MsgHdrs | undefined }
  /** Nobody listens on that subject: a stream or consumer that does not exist. */
  | { kind: 'no_responders' }
  /** No answer in time, or the connection was lost: it may or may not have been received. */
  | { kind: 'unanswered' };

export interface OutgoingMessage {
  subject: string;
  data: string | Uint8Array;
  headers?: Record<string, string>;
}

export interface Connection {
  readonly nats: NatsConnection;
  /** Never rejects: how it went is the value. */
  request(message: OutgoingMessage): Promise<Reply>;
  /** Fire and forget. */
  publish(message: OutgoingMessage): void;
  isConnected(): boolean;
  onReconnect(listener: () => void): () => void;
  close(): Promise<void>;
}

interface Pending {
  resolve: (reply: Reply) => void;
  deadlineMs: number;
}

const sweepIntervalMs = 250;
const pendingRequestsMax = 200_000;

export async function connectNats(options: ConnectionOptions): Promise<Connection> {
  const nats = await connect({
    servers: options.url.split(','),
    name: options.name,
    ...(options.user === undefined ? {} : { user: options.user, pass: options.password }),
    ...(options.token === undefined ? {} : { token: options.token }),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
    reconnectJitter: 100,
    ignoreAuthErrorAbort: true,
    timeout: 5_000,
  }).catch((error: unknown) => {
    throw new IronflowError(
      'unavailable',
      'nats_unavailable',
      `cannot connect to NATS: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  });
  return createConnection(nats, options);
}

function createConnection(nats: NatsConnection, options: ConnectionOptions): Connection {
  const requests = createRequests(nats, options.requestTimeoutMs ?? 5_000);
  const reconnectListeners = new Set<() => void>();
  let connected = true;
  const follow = async (): Promise<void> => {
    for await (const status of nats.status()) {
      if (status.type === 'disconnect') {
        connected = false;
        requests.abandon();
        options.onStatus?.('disconnected');
      } else if (status.type === 'reconnect') {
        connected = true;
        options.onStatus?.('connected');
        for (const listener of reconnectListeners) listener();
      }
    }
    connected = false;
    options.onStatus?.('closed');
  };
  void follow();
  return {
    nats,
    request: requests.send,
    publish: (message) => {
      if (nats.isClosed()) return;
      nats.publish(message.subject, message.data, withHeaders(message));
    },
    isConnected: () => connected,
    onReconnect: (listener) => {
      reconnectListeners.add(listener);
      return () => reconnectListeners.delete(listener);
    },
    close: async () => {
      requests.close();
      if (nats.isClosed()) return;
      // Draining flushes what was published; a server that is gone must not hold up the shutdown.
      await Promise.race([nats.drain(), new Promise((resolve) => setTimeout(resolve, 2_000).unref())]);
      await nats.close();
    },
  };
}

function createRequests(nats: NatsConnection, timeoutMs: number) {
  const prefix = `${createInbox()}.`;
  const pending = new Map<string, Pending>();
  let counter = 0;
  const subscription = nats.subscribe(`${prefix}*`, {
    callback: (error, message: Msg) => {
      const key = message.subject.slice(prefix.length);
      const waiting = pending.get(key);
      if (waiting === undefined) return;
      pending.delete(key);
      if (error !== null || message.headers?.code === 503) waiting.resolve({ kind: 'no_responders' });
      else waiting.resolve({ kind: 'message', data: message.data, headers: message.headers });
    },
  });
  // Requests time out in the order in which they were sent, so each sweep stops at the first that still has time.
  const sweep = setInterval(() => {
    const now = performance.now();
    for (const [key, waiting] of pending) {
      if (waiting.deadlineMs > now) return;
      pending.delete(key);
      waiting.resolve({ kind: 'unanswered' });
    }
  }, sweepIntervalMs).unref();
  const abandon = (): void => {
    for (const waiting of pending.values()) waiting.resolve({ kind: 'unanswered' });
    pending.clear();
  };
  return {
    abandon,
    send: (message: OutgoingMessage): Promise<Reply> => {
      if (nats.isClosed() || pending.size >= pendingRequestsMax)
        return Promise.resolve({ kind: 'unanswered' });
      return new Promise((resolve) => {
        const key = (counter++).toString(36);
        pending.set(key, { resolve, deadlineMs: performance.now() + timeoutMs });
        nats.publish(message.subject, message.data, { reply: prefix + key, ...withHeaders(message) });
      });
    },
    close: () => {
      clearInterval(sweep);
      abandon();
      if (!nats.isClosed()) subscription.unsubscribe();
    },
  };
}

function withHeaders(message: OutgoingMessage): { headers?: MsgHdrs } {
  if (message.headers === undefined) return {};
  const headers = createHeaders();
  for (const [name, value] of Object.entries(message.headers)) headers.set(name, value);
  return { headers };
}

/**
 * The connection to NATS that every other file here stands on: it reconnects for ever, and its requests share one inbox
 * and one timer, because a promise, a subscription and a timer for each cost more than the request itself (nc.request
 * does 6–8 k/s, this five times as many).
 *
 * 1. What was reported as unanswered before it was sent is never sent later: requests made while disconnected are kept
 *    here and not in the client's buffer.
 * 2. Requests under way when the connection breaks are unanswered at once; nobody waits for a timeout.
 */
import { connect, createInbox } from '@nats-io/transport-node';
import type { Msg, MsgHdrs, NatsConnection } from '@nats-io/transport-node';
import { IronflowError, messageOf } from '@ironflow/errors';
import { encodeHeaders } from './header-block.js';

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
  log?: (message: string) => void;
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
  /** How it went is the value. Rejects only for a message that cannot be sent at all: larger than the server takes. */
  request(message: OutgoingMessage): Promise<Reply>;
  /** Fire and forget; forgotten as well while there is no connection. */
  publish(message: OutgoingMessage): void;
  /**
   * Hears every message of a subject or filter; with a queue, one member of it hears each. An exception of the listener
   * is logged and goes no further: one that reached the client would end its reading for good. What was on its way when
   * it is stopped goes to `late`, or is ignored.
   */
  listen(filter: string, listener: (message: Msg) => void, queue?: string): StopListening;
  isConnected(): boolean;
  onReconnect(listener: () => void): () => void;
  /** Never rejects, with or without a server; closing again waits for the same end. */
  close(): Promise<void>;
}

export type StopListening = (late?: (message: Msg) => void) => void;

interface Pending {
  resolve: (reply: Reply) => void;
  deadlineMs: number;
  /** Set until it is sent. */
  unsent?: OutgoingMessage;
}

const sweepIntervalMs = 250;
const pendingRequestsMax = 200_000;
const drainMsMax = 2_000;

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
  let connected = true;
  const isConnected = (): boolean => connected;
  const requests = createRequests(nats, options.requestTimeoutMs ?? 5_000, isConnected);
  const reconnectListeners = new Set<() => void>();
  const follow = async (): Promise<void> => {
    for await (const status of nats.status()) {
      if (status.type === 'disconnect') {
        connected = false;
        requests.abandon();
        options.onStatus?.('disconnected');
      } else if (status.type === 'reconnect') {
        connected = true;
        requests.sendUnsent();
        options.onStatus?.('connected');
        for (const listener of reconnectListeners) listener();
      }
    }
    connected = false;
    options.onStatus?.('closed');
  };
  void follow();
  const close = async (): Promise<void> => {
    requests.close();
    if (connected && !nats.isClosed()) await drain(nats);
    await nats.close();
  };
  let closing: Promise<void> | undefined;
  return {
    nats,
    request: requests.send,
    publish: (message) => {
      if (nats.isClosed() || !connected) return;
      try {
        nats.publish(message.subject, message.data, withHeaders(message));
      } catch (thrown) {
        options.log?.(`a message on ${message.subject} was not sent: ${messageOf(thrown)}`);
      }
    },
    listen: (filter, listener, queue) => listen(nats, { filter, listener, queue, log: options.log }),
    isConnected,
    onReconnect: (listener) => {
      reconnectListeners.add(listener);
      return () => reconnectListeners.delete(listener);
    },
    close: () => (closing ??= close()),
  };
}

/** Flushes what was published, as long as there is a server to take it: one that goes now must not hold up the shutdown. */
async function drain(nats: NatsConnection): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((resolve) => (timer = setTimeout(resolve, drainMsMax)));
  // A drain that fails leaves nothing to do but to close.
  await Promise.race([nats.drain().catch(() => undefined), patience]);
  clearTimeout(timer);
}

interface Listening {
  filter: string;
  listener: (message: Msg) => void;
  queue: string | undefined;
  log: ((message: string) => void) | undefined;
}

function listen(nats: NatsConnection, { filter, listener, queue, log }: Listening): StopListening {
  let hear: ((message: Msg) => void) | undefined = listener;
  const subscription = nats.subscribe(filter, {
    ...(queue === undefined ? {} : { queue }),
    callback: (error, message) => {
      if (error !== null) return;
      try {
        hear?.(message);
      } catch (thrown) {
        log?.(`a listener of ${filter} failed: ${messageOf(thrown)}`);
      }
    },
  });
  return (late) => {
    hear = late;
    // The subscription ends once the server has said that nothing more comes.
    if (!nats.isClosed()) subscription.drain().catch(() => undefined);
  };
}

function createRequests(nats: NatsConnection, timeoutMs: number, isConnected: () => boolean) {
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
  const transmit = (key: string, message: OutgoingMessage): void => {
    try {
      nats.publish(message.subject, message.data, { reply: prefix + key, ...withHeaders(message) });
    } catch (error) {
      pending.delete(key);
      if (error instanceof IronflowError) throw error;
      throw new IronflowError('too_large', 'message_refused', messageOf(error), { cause: error });
    }
  };
  /** Those not sent yet may still be: they keep waiting for the connection. */
  const abandon = (): void => {
    for (const [key, waiting] of pending) {
      if (waiting.unsent !== undefined) continue;
      pending.delete(key);
      waiting.resolve({ kind: 'unanswered' });
    }
  };
  return {
    abandon,
    sendUnsent: (): void => {
      for (const [key, waiting] of pending) {
        const message = waiting.unsent;
        if (message === undefined) continue;
        delete waiting.unsent;
        try {
          transmit(key, message);
        } catch {
          waiting.resolve({ kind: 'unanswered' });
        }
      }
    },
    send: (message: OutgoingMessage): Promise<Reply> => {
      if (nats.isClosed() || pending.size >= pendingRequestsMax)
        return Promise.resolve({ kind: 'unanswered' });
      return new Promise((resolve) => {
        const key = (counter++).toString(36);
        const deadlineMs = performance.now() + timeoutMs;
        if (isConnected()) {
          pending.set(key, { resolve, deadlineMs });
          transmit(key, message);
        } else {
          pending.set(key, { resolve, deadlineMs, unsent: message });
        }
      });
    },
    close: () => {
      clearInterval(sweep);
      for (const waiting of pending.values()) waiting.resolve({ kind: 'unanswered' });
      pending.clear();
      if (!nats.isClosed()) subscription.unsubscribe();
    },
  };
}

function withHeaders(message: OutgoingMessage): { headers?: MsgHdrs } {
  return message.headers === undefined ? {} : { headers: encodeHeaders(message.headers) };
}

/**
 * The connection to NATS that every other file here stands on: it reconnects for ever.
 *
 * 1. What was reported as unanswered before it was sent is never sent later: requests made while disconnected are kept
 *    here and not in the client's buffer.
 * 2. Requests under way when the connection breaks are unanswered at once; nobody waits for a timeout.
 */
import { readFileSync } from 'node:fs';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import type { Authenticator, Msg, MsgHdrs, NatsConnection } from '@nats-io/transport-node';
import { IronflowError, messageOf } from '@ironflow/errors';
import { withHeaders } from './header-block.js';
import { describeThrown } from './log.js';
import type { JetStreamLog } from './log.js';
import { createRequests } from './requests.js';

export interface ConnectionOptions {
  /** One URL or several, separated by commas. */
  url: string;
  /** Shows in the server's monitoring. */
  name: string;
  user?: string | undefined;
  password?: string | undefined;
  token?: string | undefined;
  /** A creds file, read at every connection. */
  credsFile?: string | undefined;
  /** What such a file has in it, where there is none. */
  creds?: string | undefined;
  /** Files in PEM, read at every connection; an empty object trusts the system's authorities. */
  tls?: { caFile?: string; certFile?: string; keyFile?: string } | undefined;
  /** How long a request may stay unanswered. */
  requestTimeoutMs?: number;
  onStatus?: (status: ConnectionStatus) => void;
  log?: JetStreamLog | undefined;
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
  /** Where answers go, for `publish`; a request has an inbox of its own. */
  reply?: string;
}

export interface Connection {
  readonly nats: NatsConnection;
  /** How it went is the value. Rejects only for a message that cannot be sent at all: larger than the server takes. */
  request(message: OutgoingMessage): Promise<Reply>;
  /** Fire and forget; forgotten as well while there is no connection or as it closes. */
  publish(message: OutgoingMessage): void;
  /**
   * Hears every message of a subject or filter; with a queue, one member of it hears each. An exception of the listener
   * is logged and goes no further: one that reached the client would end its reading for good. What was on its way when
   * it is stopped goes to `late`, or is ignored.
   */
  listen(filter: string, listener: (message: Msg) => void, queue?: string): StopListening;
  isConnected(): boolean;
  /** In milliseconds since 1970. */
  connectedSinceMs(): number;
  onReconnect(listener: () => void): () => void;
  /** Never rejects, with or without a server; closing again waits for the same end. */
  close(): Promise<void>;
}

export type StopListening = (late?: (message: Msg) => void) => void;

const drainMsMax = 2_000;

export async function connectNats(options: ConnectionOptions): Promise<Connection> {
  const nats = await connect({
    servers: options.url.split(','),
    name: options.name,
    ...(options.user === undefined ? {} : { user: options.user, pass: options.password }),
    ...(options.token === undefined ? {} : { token: options.token }),
    ...authenticatorOf(options),
    ...(options.tls === undefined ? {} : { tls: options.tls }),
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

function authenticatorOf({ credsFile, creds }: ConnectionOptions): { authenticator?: Authenticator } {
  if (credsFile === undefined) {
    return creds === undefined ? {} : { authenticator: credsAuthenticator(new TextEncoder().encode(creds)) };
  }
  let known = readCreds(credsFile);
  const authenticator: Authenticator = (nonce) => {
    try {
      known = readCreds(credsFile);
    } catch {
      // The client would give up for good: the file may just be replaced, and what was in it may still be valid.
    }
    return known(nonce);
  };
  return { authenticator };
}

function readCreds(file: string): Authenticator {
  try {
    return credsAuthenticator(readFileSync(file));
  } catch (error) {
    const message = `the credentials for NATS cannot be read: ${messageOf(error)}`;
    throw new IronflowError('invalid', 'config_invalid', message, { cause: error });
  }
}

function createConnection(nats: NatsConnection, options: ConnectionOptions): Connection {
  let connected = true;
  let connectedSinceMs = Date.now();
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
        connectedSinceMs = Date.now();
        requests.sendUnsent();
        options.onStatus?.('connected');
        for (const listener of reconnectListeners) listener();
      }
    }
    connected = false;
    options.onStatus?.('closed');
  };
  void follow();
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    requests.close();
    if (connected && !nats.isClosed()) await drain(nats);
    await nats.close();
  };
  return {
    nats,
    request: (message) => requests.send(message),
    publish: (message) => {
      if (closing !== undefined || !connected) return;
      const { subject, data, reply } = message;
      try {
        nats.publish(subject, data, { ...(reply === undefined ? {} : { reply }), ...withHeaders(message) });
      } catch (thrown) {
        options.log?.warn(`a message on ${subject} was not sent: ${describeThrown(thrown)}`);
      }
    },
    listen: (filter, listener, queue) => listen(nats, { filter, listener, queue, log: options.log }),
    isConnected,
    connectedSinceMs: () => connectedSinceMs,
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
  log: JetStreamLog | undefined;
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
        log?.warn(`a listener of ${filter} failed on ${message.subject}: ${describeThrown(thrown)}`);
      }
    },
  });
  return (late) => {
    hear = late;
    // The subscription ends once the server has said that nothing more comes.
    if (!nats.isClosed()) subscription.drain().catch(() => undefined);
  };
}

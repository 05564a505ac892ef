/**
 * One WebSocket to an executor, from the attempt to connect until it is closed. Messages of one turn of the event loop
 * leave as one frame; a peer that is silent for too long is given up.
 */
import { WebSocket } from 'ws';
import type { RawData } from 'ws';
import { workerPath } from '@ironflow/schema';
import type { WorkerMessage } from '@ironflow/schema';
import { readFrame } from './executor-messages.js';
import type { ReadMessage } from './executor-messages.js';

export interface Connection {
  send: (message: WorkerMessage) => void;
  /** Sends what is left, closes, and gives up waiting for the peer's answer after a second. */
  close(): void;
  /** At once, nothing more is sent. */
  terminate(): void;
  readonly ended: Promise<ConnectionEnd>;
}

export interface ConnectionEnd {
  /** Why, for the log. */
  reason: string;
  /** The platform said no to the handshake itself. */
  refusedWithStatus?: number;
}

export interface ConnectionOptions {
  /** Where executors are reached; `ws` follows from `http`. */
  url: string;
  apiKey: string;
  onOpen: () => void;
  onMessage: (message: ReadMessage) => void;
  heartbeat?: Heartbeat;
}

interface Heartbeat {
  pingEveryMs: number;
  silenceMsMax: number;
}

const handshakeTimeoutMs = 5_000;
const closeTimeoutMs = 1_000;
/** A dead peer is noticed within ten seconds: silence is looked for at every ping. */
const heartbeatDefault: Heartbeat = { pingEveryMs: 2_500, silenceMsMax: 7_000 };
/** A frame is closed once it is longer; one message may be longer still. */
const frameLengthTarget = 1024 * 1024;
const frameBytesMax = 256 * 1024 * 1024;

export function connect(options: ConnectionOptions): Connection {
  const socket = new WebSocket(options.url.replace(/^http/, 'ws') + workerPath, {
    headers: { authorization: `Bearer ${options.apiKey}` },
    handshakeTimeout: handshakeTimeoutMs,
    maxPayload: frameBytesMax,
    perMessageDeflate: false,
  });
  const outbox = createOutbox(socket);
  const heartbeat = watchOver(socket, options.heartbeat ?? heartbeatDefault);
  let problem: string | undefined;
  let refusedWithStatus: number | undefined;
  socket.on('open', () => {
    heartbeat.begin();
    options.onOpen();
  });
  socket.on('message', (data: RawData) => {
    heartbeat.heard();
    const messages = readFrame(bytesOf(data));
    if (messages === undefined) {
      // What was not understood would be waited for: better to be lost and tried elsewhere.
      problem ??= 'a message does not fit the protocol';
      socket.terminate();
      return;
    }
    for (const message of messages) options.onMessage(message);
  });
  socket.on('error', (error) => {
    problem ??= error.message;
    const status = /Unexpected server response: (\d{3})/.exec(error.message);
    if (status !== null) refusedWithStatus = Number(status[1]);
  });
  const ended = new Promise<ConnectionEnd>((resolve) => {
    socket.on('close', (code, reason) => {
      heartbeat.end();
      const said = reason.toString('utf8').slice(0, 200);
      resolve({
        reason:
          problem ?? heartbeat.problem() ?? `closed with code ${code}${said === '' ? '' : ` (${said})`}`,
        ...(refusedWithStatus === undefined ? {} : { refusedWithStatus }),
      });
    });
  });
  return {
    send: outbox.send,
    close() {
      outbox.flush();
      socket.close(1000);
      setTimeout(() => socket.terminate(), closeTimeoutMs).unref();
    },
    terminate: () => socket.terminate(),
    ended,
  };
}

function createOutbox(socket: WebSocket) {
  let messages: string[] = [];
  let length = 0;
  const flush = () => {
    if (messages.length === 0) return;
    const frame = `[${messages.join(',')}]`;
    messages = [];
    length = 0;
    if (socket.readyState === WebSocket.OPEN) socket.send(frame);
  };
  return {
    flush,
    send: (message: WorkerMessage) => {
      const text = JSON.stringify(message);
      if (messages.push(text) === 1) setImmediate(flush);
      length += text.length;
      if (length > frameLengthTarget) flush();
    },
  };
}

/** Pings, and terminates the socket when nothing was heard. Clocks that jump must not matter: monotonic time. */
function watchOver(socket: WebSocket, { pingEveryMs, silenceMsMax }: Heartbeat) {
  let heardAtMs = performance.now();
  let tickedAtMs = heardAtMs;
  let timer: NodeJS.Timeout | undefined;
  let silent = false;
  const heard = () => (heardAtMs = performance.now());
  const tick = () => {
    const nowMs = performance.now();
    // When the event loop itself was blocked, what the peer sent is still unread: judge it next time.
    const blocked = nowMs - tickedAtMs > 2 * pingEveryMs;
    tickedAtMs = nowMs;
    if (!blocked && nowMs - heardAtMs > silenceMsMax) {
      silent = true;
      socket.terminate();
    } else if (socket.readyState === WebSocket.OPEN) {
      socket.ping();
    }
  };
  socket.on('ping', heard);
  socket.on('pong', heard);
  return {
    heard,
    begin() {
      tickedAtMs = heard();
      timer = setInterval(tick, pingEveryMs);
    },
    end: () => clearInterval(timer),
    problem: () => (silent ? `nothing was heard for ${silenceMsMax} ms` : undefined),
  };
}

function bytesOf(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? Buffer.from(data) : data;
}

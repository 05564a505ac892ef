/**
 * The framing of a worker's WebSocket: messages of one turn of the event loop go out as one frame; a silent peer is gone,
 * and one that sends more than can be made durable is not read until that has been.
 */
import type { WebSocket } from 'ws';
import { workerMessageSchema } from '@ironflow/schema';
import type { ExecutorMessage, WorkerMessage } from '@ironflow/schema';

export interface WorkerSocket {
  send(message: ExecutorMessage): void;
  close(code: number, reason: string): void;
}

export interface WorkerSocketEvents {
  /** Resolves when the message takes no memory any more. */
  onMessage: (message: WorkerMessage) => Promise<void> | undefined;
  /** Once. */
  onClose: () => void;
}

const pingIntervalMs = 4_000;
/** Two pings unanswered. */
const silenceMs = 9_000;
const bufferedBytesMax = 64 * 1024 * 1024;
/** Received and not durable yet; beyond it nothing more is read. */
const heldBytesMax = 8 * 1024 * 1024;
export const frameBytesMax = 16 * 1024 * 1024;

export function createWorkerSocket(webSocket: WebSocket, events: WorkerSocketEvents): WorkerSocket {
  let outgoing: string[] = [];
  let heardAtMs = performance.now();
  let closed = false;
  const flush = (): void => {
    const messages = outgoing;
    outgoing = [];
    if (webSocket.readyState !== webSocket.OPEN) return;
    // A worker that does not read is as good as lost; what it has is activated again.
    if (webSocket.bufferedAmount > bufferedBytesMax) webSocket.terminate();
    else webSocket.send(`[${messages.join(',')}]`);
  };
  const send = (message: ExecutorMessage): void => {
    outgoing.push(JSON.stringify(message));
    if (outgoing.length === 1) setImmediate(flush);
  };
  const refuse = (reason: string): void => {
    send({ type: 'refused', code: 'protocol_violated', message: reason });
    setImmediate(() => webSocket.close(1008, reason));
  };
  let heldBytes = 0;
  const hold = (bytes: number): void => {
    heldBytes += bytes;
    if (heldBytes > heldBytesMax) webSocket.pause();
  };
  const letGo = (bytes: number): void => {
    heldBytes -= bytes;
    if (!webSocket.isPaused || heldBytes > heldBytesMax) return;
    heardAtMs = performance.now();
    webSocket.resume();
  };
  const pinger = setInterval(() => {
    // Nothing is heard of a peer that is not read.
    const silentMs = webSocket.isPaused ? 0 : performance.now() - heardAtMs;
    if (silentMs > silenceMs) webSocket.terminate();
    else if (webSocket.readyState === webSocket.OPEN) webSocket.ping();
  }, pingIntervalMs).unref();
  webSocket.on('pong', () => (heardAtMs = performance.now()));
  webSocket.on('ping', () => (heardAtMs = performance.now()));
  webSocket.on('error', () => webSocket.terminate());
  webSocket.on('close', () => {
    if (closed) return;
    closed = true;
    clearInterval(pinger);
    events.onClose();
  });
  webSocket.on('message', (data: Buffer) => {
    heardAtMs = performance.now();
    const messages = readFrame(data);
    if (messages === undefined) {
      refuse('a frame is a JSON array of messages of the protocol');
      return;
    }
    const taken = messages.map((message) => events.onMessage(message)).filter((held) => held !== undefined);
    if (taken.length === 0) return;
    hold(data.length);
    void Promise.all(taken).finally(() => letGo(data.length));
  });
  return {
    send,
    close: (code, reason) => setImmediate(() => webSocket.close(code, reason)),
  };
}

function readFrame(data: Buffer): WorkerMessage[] | undefined {
  let frame: unknown;
  try {
    frame = JSON.parse(data.toString('utf8'));
  } catch {
    return undefined;
  }
  if (!Array.isArray(frame)) return undefined;
  const messages: WorkerMessage[] = [];
  for (const body of frame) {
    const parsed = workerMessageSchema.safeParse(body);
    if (parsed.success) messages.push(parsed.data);
    // A type that is not known is a newer SDK's and optional by the rules of the protocol.
    else if (isKnownType(body)) return undefined;
  }
  return messages;
}

const knownTypes = new Set(['hello', 'record', 'end', 'drain']);

function isKnownType(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'type' in body && knownTypes.has(String(body.type));
}

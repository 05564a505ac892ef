/**
 * The framing of a worker's WebSocket: messages of one turn of the event loop go out together, in frames of a bounded size;
 * a silent peer is gone, and one that sends more than can be made durable is not read until that has been.
 */
import type { WebSocket } from 'ws';
import { z } from 'zod';
import { uuidSchema, workerMessageSchema, writerSchema } from '@ironflow/schema';
import type { ExecutorMessage, WorkerMessage } from '@ironflow/schema';

export interface WorkerSocket {
  send(message: ExecutorMessage): void;
  /** The peer is slow to read: what waits to be sent takes memory here, and its runs wait with it. */
  isCongested(): boolean;
  close(code: number, reason: string): void;
}

/** Breaks the protocol, but says of which run it is: that one fails, and the connection goes on. */
export interface MalformedMessage extends z.infer<typeof malformedSchema> {
  type: 'malformed';
}

export interface WorkerSocketEvents {
  /** Resolves when the message takes no memory any more. */
  onMessage: (message: WorkerMessage | MalformedMessage) => Promise<void> | undefined;
  /** It was congested and is no more. */
  onUncongested: () => void;
  /** Once. */
  onClose: () => void;
}

const malformedSchema = z.object({ runId: uuidSchema, writer: writerSchema });

const pingIntervalMs = 4_000;
/** Two pings unanswered. */
const silenceMs = 9_000;
/** A frame is closed beyond it. One message may be larger: it goes out in fragments, so that one sees how the peer reads. */
const sentFrameBytesMax = 1024 * 1024;
const congestedBytes = 16 * 1024 * 1024;
/** Received and not durable yet; beyond it nothing more is read. */
const heldBytesMax = 8 * 1024 * 1024;
/** An end with its last records and what the function returned: twice the largest output, escaped as a string within JSON. */
export const frameBytesMax = 32 * 1024 * 1024;

export function createWorkerSocket(webSocket: WebSocket, events: WorkerSocketEvents): WorkerSocket {
  const now = (): number => performance.now();
  let heardAtMs = now();
  const outbox = createOutbox(webSocket, {
    // A peer that takes what it is sent is there, also while its pong waits behind all of that.
    onProgress: () => (heardAtMs = now()),
    onUncongested: events.onUncongested,
  });
  let closed = false;
  const refuse = (reason: string): void => {
    outbox.send({ type: 'refused', code: 'protocol_violated', message: reason });
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
    heardAtMs = now();
    webSocket.resume();
  };
  const pinger = setInterval(() => {
    // Nothing is heard of a peer that is not read.
    const silentMs = webSocket.isPaused ? 0 : now() - heardAtMs;
    if (silentMs > silenceMs) webSocket.terminate();
    else if (webSocket.readyState === webSocket.OPEN) webSocket.ping();
  }, pingIntervalMs).unref();
  webSocket.on('pong', () => (heardAtMs = now()));
  webSocket.on('ping', () => (heardAtMs = now()));
  webSocket.on('error', () => webSocket.terminate());
  webSocket.on('close', () => {
    if (closed) return;
    closed = true;
    clearInterval(pinger);
    events.onClose();
  });
  webSocket.on('message', (data: Buffer) => {
    heardAtMs = now();
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
    send: outbox.send,
    isCongested: outbox.isCongested,
    close: (code, reason) => setImmediate(() => webSocket.close(code, reason)),
  };
}

function createOutbox(
  webSocket: WebSocket,
  { onProgress, onUncongested }: { onProgress: () => void; onUncongested: () => void },
) {
  /** Texts of frames in the making; of all but the last no more is to come. */
  let frames: string[][] = [];
  let lastFrameLength = 0;
  /** Given to the socket and not taken by the network, or waiting for the turn's end. */
  let pendingBytes = 0;
  let congested = false;

  const sent = (bytes: number): void => {
    pendingBytes -= bytes;
    // What is taken at once may still be in a buffer of ours; with more behind it, the peer made room.
    if (pendingBytes > 0) onProgress();
    if (!congested || pendingBytes > congestedBytes) return;
    congested = false;
    onUncongested();
  };
  const sendFrame = (text: string, bytes: number): void => {
    if (text.length <= sentFrameBytesMax) return webSocket.send(text, () => sent(bytes));
    const whole = Buffer.from(text);
    pendingBytes += whole.length - bytes;
    for (let from = 0; from < whole.length; from += sentFrameBytesMax) {
      const part = whole.subarray(from, from + sentFrameBytesMax);
      const fin = from + part.length === whole.length;
      webSocket.send(part, { binary: false, fin }, () => sent(part.length));
    }
  };
  const flush = (): void => {
    const ready = frames;
    frames = [];
    lastFrameLength = 0;
    if (webSocket.readyState !== webSocket.OPEN) return;
    for (const texts of ready) {
      const bytes = texts.reduce((sum, { length }) => sum + length, 0);
      sendFrame(`[${texts.join(',')}]`, bytes);
    }
  };
  return {
    isCongested: () => congested,
    send: (message: ExecutorMessage): void => {
      const text = JSON.stringify(message);
      if (frames.length === 0) setImmediate(flush);
      if (frames.length === 0 || lastFrameLength + text.length > sentFrameBytesMax) {
        frames.push([]);
        lastFrameLength = 0;
      }
      frames.at(-1)!.push(text);
      lastFrameLength += text.length;
      pendingBytes += text.length;
      if (pendingBytes > congestedBytes) congested = true;
    },
  };
}

function readFrame(data: Buffer): (WorkerMessage | MalformedMessage)[] | undefined {
  let frame: unknown;
  try {
    frame = JSON.parse(data.toString('utf8'));
  } catch {
    return undefined;
  }
  if (!Array.isArray(frame)) return undefined;
  const messages: (WorkerMessage | MalformedMessage)[] = [];
  for (const body of frame) {
    const parsed = workerMessageSchema.safeParse(body);
    if (parsed.success) {
      messages.push(parsed.data);
      continue;
    }
    const type = typeOf(body);
    const malformed = runTypes.has(type) ? malformedSchema.safeParse(body) : undefined;
    if (malformed?.success === true) messages.push({ type: 'malformed', ...malformed.data });
    // A type that is not known is a newer SDK's and optional by the rules of the protocol.
    else if (knownTypes.has(type)) return undefined;
  }
  return messages;
}

/** Lines that cannot be read are passed over as well: nothing waits for them. */
const runTypes = new Set(['record', 'end']);
const knownTypes = new Set([...runTypes, 'hello', 'drain', 'aborted']);

function typeOf(body: unknown): string {
  return typeof body === 'object' && body !== null && 'type' in body ? String(body.type) : '';
}

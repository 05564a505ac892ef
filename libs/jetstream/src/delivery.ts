/** One delivered message of a stream, with the words JetStream has for answering it. */
import type { Msg } from '@nats-io/transport-node';
import type { Connection } from './connection.js';

export interface Delivery {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Sequence in the stream. */
  readonly sequence: number;
  /** When the stream took it. */
  readonly storedAtMs: number;
  /** 1 at first. A hint only: a recreated durable counts from 1 again. */
  readonly deliveryCount: number;
  /** When the connection that it came by was made: a server that was started anew may not know of what it delivered before. */
  readonly connectedSinceMs: number;
  header(name: string): string | undefined;
  text(): string;
  ack(): void;
  nak(delayMs?: number): void;
  term(): void;
  /** Starts the ack wait anew, and answers whether the server has said that it heard. It does not say whose message it is. */
  working(): Promise<boolean>;
}

const decoder = new TextDecoder();

/** `undefined` for a message that is not a delivery of a consumer. */
export function toDelivery(connection: Connection, message: Msg): Delivery | undefined {
  const reply = message.reply;
  if (reply === undefined || !reply.startsWith('$JS.ACK.')) return undefined;
  const { deliveryCount, sequence, storedAtNs } = readAckSubject(reply);
  // While disconnected no answer is sent or kept: it would arrive when another may have the message.
  const answer = (data: string): void => connection.publish({ subject: reply, data });
  return {
    subject: message.subject,
    data: message.data,
    deliveryCount,
    sequence,
    storedAtMs: Math.floor(storedAtNs / 1e6),
    connectedSinceMs: connection.connectedSinceMs(),
    header: (name) => {
      const value = message.headers?.get(name);
      return value === '' ? undefined : value;
    },
    text: () => decoder.decode(message.data),
    ack: () => answer('+ACK'),
    nak: (delayMs) => answer(delayMs === undefined ? '-NAK' : `-NAK {"delay": ${Math.round(delayMs * 1e6)}}`),
    term: () => answer('+TERM'),
    working: async () =>
      connection.isConnected() &&
      (await connection.request({ subject: reply, data: '+WPI' })).kind === 'message',
  };
}

/**
 * $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, since 2.9.4 perhaps with
 * <domain>.<account> before the stream (and a token after): eleven tokens or more then, nine otherwise. Every delivery is
 * read here: its tokens are not made unless they are wanted.
 */
function readAckSubject(subject: string) {
  const dots: number[] = [];
  for (let at = subject.indexOf('.'); at !== -1; at = subject.indexOf('.', at + 1)) dots.push(at);
  const first = dots.length >= 10 ? 6 : 4;
  const token = (index: number): number => Number(subject.slice(dots[index - 1]! + 1, dots[index]));
  return { deliveryCount: token(first), sequence: token(first + 1), storedAtNs: token(first + 3) };
}

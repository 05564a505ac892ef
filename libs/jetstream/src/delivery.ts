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
  // $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, since 2.9.4 perhaps with
  // <domain>.<account> before the stream (and a token after): eleven tokens or more then, nine otherwise.
  const tokens = reply.split('.');
  const offset = tokens.length >= 11 ? 4 : 2;
  // While disconnected no answer is sent or kept: it would arrive when another may have the message.
  const answer = (data: string): void => connection.publish({ subject: reply, data });
  return {
    subject: message.subject,
    data: message.data,
    deliveryCount: Number(tokens[offset + 2]),
    sequence: Number(tokens[offset + 3]),
    storedAtMs: Math.floor(Number(tokens[offset + 5]) / 1e6),
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

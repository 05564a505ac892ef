/** How far a stream and the consumers on it are: for trimming and for metrics, asked for seldom. */
import type { ConsumerDefinition, StreamName } from '@ironflow/schema';
import { IronflowError } from '@ironflow/errors';
import type { Connection } from './connection.js';

export interface StreamState {
  messages: number;
  bytes: number;
  /** As it is configured; `Infinity` when there is no limit. */
  maxBytes: number;
  /** Sequence of the oldest message; of the next one when the stream is empty. */
  firstSequence: number;
  lastSequence: number;
  /** When the oldest message was stored; `undefined` when the stream is empty. */
  firstStoredAtMs: number | undefined;
}

export interface ConsumerState {
  /** Every message up to here is acknowledged. */
  ackFloor: number;
  /** Not delivered yet. */
  pending: number;
  /** Delivered and not acknowledged. */
  ackPending: number;
}

export interface StreamStates {
  /** Rejects with `unavailable` when the stream does not exist or does not answer. */
  stream(name: StreamName): Promise<StreamState>;
  consumer(definition: Pick<ConsumerDefinition, 'stream' | 'durable'>): Promise<ConsumerState>;
  /** When the first message at or after a sequence was stored; with a filter, the first on one of its subjects. */
  storedAt(name: StreamName, sequence: number, filterSubject?: string): Promise<number | undefined>;
}

const noMessageFound = 10037;
const decoder = new TextDecoder();

export function createStreamStates(connection: Connection): StreamStates {
  const ask = async (subject: string, body: object): Promise<Answer> => {
    const reply = await connection.request({ subject, data: JSON.stringify(body) });
    if (reply.kind !== 'message') throw unavailable(subject, reply.kind);
    const answer = JSON.parse(decoder.decode(reply.data)) as Answer;
    if (answer.error !== undefined && answer.error.err_code !== noMessageFound) {
      throw unavailable(subject, answer.error.description ?? 'error');
    }
    return answer;
  };
  return {
    stream: async (name) => {
      const { state, config } = await ask(`$JS.API.STREAM.INFO.${name}`, {});
      if (state === undefined || config === undefined) throw unavailable(name, 'no state');
      return {
        messages: state.messages,
        bytes: state.bytes,
        maxBytes: config.max_bytes > 0 ? config.max_bytes : Infinity,
        firstSequence: state.first_seq,
        lastSequence: state.last_seq,
        firstStoredAtMs: state.messages === 0 ? undefined : Date.parse(state.first_ts),
      };
    },
    consumer: async ({ stream, durable }) => {
      const answer = await ask(`$JS.API.CONSUMER.INFO.${stream}.${durable}`, {});
      if (answer.ack_floor === undefined) throw unavailable(durable, 'no state');
      return {
        ackFloor: answer.ack_floor.stream_seq,
        pending: answer.num_pending ?? 0,
        ackPending: answer.num_ack_pending ?? 0,
      };
    },
    storedAt: async (name, sequence, filterSubject = '>') => {
      const query = { seq: sequence, next_by_subj: filterSubject };
      const { message } = await ask(`$JS.API.STREAM.MSG.GET.${name}`, query);
      return message === undefined ? undefined : Date.parse(message.time);
    },
  };
}

interface Answer {
  error?: { err_code?: number; description?: string };
  state?: { messages: number; bytes: number; first_seq: number; last_seq: number; first_ts: string };
  config?: { max_bytes: number };
  ack_floor?: { stream_seq: number };
  num_pending?: number;
  num_ack_pending?: number;
  message?: { time: string };
}

function unavailable(what: string, why: string): IronflowError {
  return new IronflowError('unavailable', 'stream_state_unavailable', `${what}: ${why}`);
}

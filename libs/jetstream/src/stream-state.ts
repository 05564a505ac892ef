/**
 * How far a stream and the consumers on it are: for trimming, scaling and metrics, asked for seldom. All of it is asked of
 * leaders, through the JetStream API: what the servers' monitoring tells of a replica may be long outdated.
 */
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
  /** Of a stream in a cluster: those that its leader does not hear, or that have not caught up. */
  replicasBehind: number;
}

export interface ConsumerState {
  /** Every message up to here is acknowledged. */
  ackFloor: number;
  /** Not delivered yet. */
  pending: number;
  /** Delivered and not acknowledged. */
  ackPending: number;
}

export interface NamedConsumerState extends Pick<ConsumerState, 'pending' | 'ackPending'> {
  durable: string;
}

export interface StreamStates {
  /** Rejects with `unavailable` when the stream does not exist, does not answer or has no leader: who was it would tell old figures. */
  stream(name: StreamName): Promise<StreamState>;
  consumer(definition: Pick<ConsumerDefinition, 'stream' | 'durable'>): Promise<ConsumerState>;
  /** Of all consumers of a stream; rejects as well when one of them has no leader that answers: a sum without it would be wrong. */
  consumersOf(name: StreamName): Promise<NamedConsumerState[]>;
  /** When the first message at or after a sequence was stored; with a filter, the first on one of its subjects. */
  storedAt(name: StreamName, sequence: number, filterSubject?: string): Promise<number | undefined>;
}

const noMessageFound = 10037;
/** Of 256 each: as many as STEPS may have. */
const consumerPagesMax = 40;
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
      const { state, config, cluster } = await ask(`$JS.API.STREAM.INFO.${name}`, {});
      if (state === undefined || config === undefined) throw unavailable(name, 'no state');
      if (cluster !== undefined && cluster.leader === undefined) throw unavailable(name, 'no leader');
      return {
        messages: state.messages,
        bytes: state.bytes,
        maxBytes: config.max_bytes > 0 ? config.max_bytes : Infinity,
        firstSequence: state.first_seq,
        lastSequence: state.last_seq,
        firstStoredAtMs: state.messages === 0 ? undefined : Date.parse(state.first_ts),
        replicasBehind: (cluster?.replicas ?? []).filter(isBehind).length,
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
    consumersOf: async (name) => {
      const found: NamedConsumerState[] = [];
      for (let page = 0; page < consumerPagesMax; page += 1) {
        const subject = `$JS.API.CONSUMER.LIST.${name}`;
        const { total, ...answer } = await ask(subject, { offset: found.length });
        const [listed, silent] = [answer.consumers ?? [], answer.missing ?? []];
        if (total === undefined) throw unavailable(name, 'no consumers');
        if (silent.length > 0) throw unavailable(name, `${silent.length} consumers do not answer`);
        found.push(...listed.map(toNamedState));
        // One that is removed meanwhile leaves fewer than were announced.
        if (listed.length === 0 || found.length >= total) return found;
      }
      throw unavailable(name, 'too many consumers');
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
  cluster?: { leader?: string; replicas?: ReplicaAnswer[] };
  consumers?: ConsumerAnswer[] | null;
  missing?: string[] | null;
  total?: number;
  ack_floor?: { stream_seq: number };
  num_pending?: number;
  num_ack_pending?: number;
  message?: { time: string };
}

interface ReplicaAnswer {
  current: boolean;
  offline?: boolean;
}

interface ConsumerAnswer {
  name: string;
  num_pending: number;
  num_ack_pending: number;
}

function isBehind({ current, offline = false }: ReplicaAnswer): boolean {
  return offline || !current;
}

function toNamedState({ name, num_pending, num_ack_pending }: ConsumerAnswer): NamedConsumerState {
  return { durable: name, pending: num_pending, ackPending: num_ack_pending };
}

function unavailable(what: string, why: string): IronflowError {
  return new IronflowError('unavailable', 'stream_state_unavailable', `${what}: ${why}`);
}

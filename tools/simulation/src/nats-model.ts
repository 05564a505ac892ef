/**
 * A NATS server in memory, as far as production speaks to it: publishing, the stream requests of journals and of trimming,
 * durable consumers and plain messages. What production makes of its answers (libs/jetstream) is the real thing.
 */
import type { Bucket, Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import {
  createJournal,
  createNotices,
  createPublisher,
  createStreamStates,
  createTopics,
  createUserBuckets,
} from '@ironflow/jetstream/parts';
import type { Connection, OutgoingMessage, Reply } from '@ironflow/jetstream/parts';
import type { ConsumerDefinition, StreamName } from '@ironflow/schema';
import { ConsumerModel } from './consumer-model.js';
import type { DeliveryRecord, Puller } from './consumer-model.js';
import type { Process, World } from './process.js';
import { matches, StreamModel } from './stream-model.js';
import type { PublishAnswer, Published, StoredMessage } from './stream-model.js';

type Heard = Parameters<Parameters<Connection['listen']>[1]>[0];

interface Listener {
  filter: string;
  queue: string | undefined;
  process: Process;
  hear: (message: Heard) => void;
}

export interface NatsObserver {
  onStored(message: StoredMessage, stream: StreamName): void;
  /** Before it leaves the process. */
  onAppend(process: Process, data: string): void;
  onPurged(messages: StoredMessage[]): void;
  onWiped(): void;
  onAnswer(stream: StreamName, delivery: DeliveryRecord, what: string, message: StoredMessage): void;
  onArrival(stream: StreamName, delivery: DeliveryRecord, message: StoredMessage, deliveries: number): void;
}

const streamOfToken: Record<string, StreamName> = { events: 'EVENTS', steps: 'STEPS', results: 'RESULTS' };
const noMessage = { error: { err_code: 10037, description: 'no message found' } };

export class NatsModel {
  private streams = new Map<StreamName, StreamModel>();
  private readonly consumers = new Map<string, ConsumerModel>();
  private readonly definitions = new Map<string, { definition: ConsumerDefinition; pullers: Puller[] }>();
  private readonly listeners = new Set<Listener>();

  constructor(
    private readonly world: World,
    private readonly observer: NatsObserver,
    private readonly options: { expectationsFirst: boolean },
  ) {
    this.makeStreams();
  }

  stream(name: StreamName): StreamModel {
    return this.streams.get(name)!;
  }

  /** All of it is lost, and provisioned again. */
  wipe(): void {
    this.world.note('NATS is wiped');
    this.observer.onWiped();
    this.makeStreams();
    for (const durable of this.definitions.keys()) this.remake(durable);
  }

  /** Killed, and there again: what it has not written down is whom it has delivered what. */
  restart(): void {
    this.world.note('NATS restarts');
    for (const durable of this.definitions.keys()) this.remake(durable);
  }

  /** A durable that was lost by itself: it knows nothing of what was acknowledged, and counts deliveries from 1. */
  remakeConsumer(): void {
    const durable = this.world.random.pick([...this.definitions.keys()]);
    this.world.note(`the consumer ${durable} is made anew`);
    this.remake(durable);
  }

  jetstreamOf(process: Process, bucket: Bucket): JetStream {
    const connection = this.connectionOf(process);
    const onNoStream = (): void => undefined;
    const publisher = createPublisher(connection, onNoStream);
    const made = Promise.resolve();
    return {
      connection,
      publisher,
      provisioner: {
        ensure: () => made,
        ensureConsumer: () => made,
        request: onNoStream,
      },
      journal: createJournal({ connection, publisher, onNoStream }),
      notices: createNotices(connection),
      topics: createTopics({ connection, publisher, onNoStream }),
      states: createStreamStates(connection),
      userBuckets: createUserBuckets({ connection, publisher, replicas: 1 }),
      bucket: () => bucket,
      consume: (definition, owner) => this.consume(process, definition, owner),
      isConnected: () => process.isConnected,
      close: () => made,
    };
  }

  /** A message as whoever is no part of the simulation publishes it. */
  publish(message: Published): PublishAnswer {
    const name = streamOfToken[message.subject.split('.')[3] ?? ''];
    if (name === undefined) return { error: { err_code: 0, description: 'no stream' } };
    if (this.world.faults.isFull()) {
      return { error: { err_code: 10077, description: 'maximum messages exceeded' } };
    }
    const stream = this.stream(name);
    const answer = stream.publish(message, this.world.time.nowMs);
    if ('seq' in answer && answer.duplicate !== true) {
      this.observer.onStored(stream.messages.get(answer.seq)!, name);
      for (const [durable, { definition }] of this.definitions) {
        if (definition.stream === name) this.consumers.get(durable)!.dispatchSoon();
      }
    }
    return answer;
  }

  notify(subject: string, data: string): void {
    const { faults, random } = this.world;
    const heard = [...this.listeners].filter(
      ({ filter, process }) => process.isAlive && matches(filter, subject),
    );
    const queues = new Set(heard.map(({ queue }) => queue));
    for (const queue of queues) {
      const members = heard.filter((listener) => listener.queue === queue);
      for (const { process, hear } of queue === undefined ? members : [random.pick(members)]) {
        const message = { subject, json: () => JSON.parse(data) as unknown } as Heard;
        const times = faults.losesNotice() ? 0 : faults.doublesNotice() ? 2 : 1;
        for (let time = 0; time < times; time += 1) process.receive(() => hear(message));
      }
    }
  }

  private makeStreams(): void {
    for (const name of ['EVENTS', 'STEPS', 'RESULTS'] as const) {
      this.streams.set(name, new StreamModel(name, this.world.time.nowMs, this.options));
    }
  }

  private consume(
    process: Process,
    definition: ConsumerDefinition,
    owner: { capacity: () => number; onDelivery: (delivery: Delivery) => void },
  ): PullConsumer {
    const puller: Puller = { process, ...owner, outstanding: 0 };
    const known = this.definitions.get(definition.durable) ?? { definition, pullers: [] };
    known.pullers.push(puller);
    this.definitions.set(definition.durable, known);
    if (!this.consumers.has(definition.durable)) this.remake(definition.durable);
    const wake = (): void => this.consumers.get(definition.durable)!.dispatchSoon();
    process.onReconnect(wake);
    wake();
    return {
      wake,
      stop: () => void known.pullers.splice(known.pullers.indexOf(puller), 1),
    };
  }

  /** Nothing comes to a process that died, once the server has noticed. */
  forget(process: Process): void {
    for (const { pullers } of this.definitions.values()) {
      for (const puller of pullers.filter((one) => one.process === process))
        pullers.splice(pullers.indexOf(puller), 1);
    }
    for (const listener of this.listeners) if (listener.process === process) this.listeners.delete(listener);
  }

  private remake(durable: string): void {
    const { definition, pullers } = this.definitions.get(durable)!;
    this.consumers.get(durable)?.remove();
    const { stream } = definition;
    const { world, observer } = this;
    const consumer = new ConsumerModel({
      world,
      stream: this.stream(stream),
      definition,
      pullers,
      isWorkQueue: stream === 'STEPS',
      onAnswer: (delivery, what, message) => observer.onAnswer(stream, delivery, what, message),
      onArrival: (delivery, message, deliveries) => observer.onArrival(stream, delivery, message, deliveries),
    });
    this.consumers.set(durable, consumer);
    consumer.dispatchSoon();
  }

  private connectionOf(process: Process): Connection {
    return {
      get nats(): never {
        throw new Error('there is no client of NATS in a simulation');
      },
      isConnected: () => process.isConnected,
      connectedSinceMs: () => process.connectedSinceMs,
      onReconnect: (listener) => process.onReconnect(listener),
      close: () => Promise.resolve(),
      publish: ({ subject, data }) => process.send(() => this.notify(subject, textOf(data))),
      listen: (filter, hear, queue) => {
        const listener: Listener = { filter, hear, queue, process };
        this.listeners.add(listener);
        return () => void this.listeners.delete(listener);
      },
      request: (message) => {
        if (message.subject.split('.')[3] === 'results' && !message.subject.startsWith('$')) {
          this.observer.onAppend(process, textOf(message.data));
        }
        return process.ask<Reply>(() => this.serve(message), { kind: 'unanswered' });
      },
    };
  }

  private serve(message: OutgoingMessage): Reply {
    const data = textOf(message.data);
    const answer = message.subject.startsWith('$JS.API.')
      ? this.serveApi(message.subject.split('.').slice(2), data)
      : this.publish({ subject: message.subject, data, headers: message.headers ?? {} });
    return { kind: 'message', data: Buffer.from(JSON.stringify(answer)), headers: undefined };
  }

  private serveApi([kind, what, ...rest]: string[], data: string): object {
    if (kind === 'CONSUMER') {
      const consumer = this.consumers.get(rest[1]!);
      // One that nobody uses here has nothing to do.
      if (consumer === undefined) return { ack_floor: { stream_seq: 2 ** 52 } };
      const { pending, ackPending } = consumer.unfinished;
      return {
        ack_floor: { stream_seq: consumer.ackFloor },
        num_pending: pending,
        num_ack_pending: ackPending,
      };
    }
    if (what === 'INFO')
      return { state: stateOf(this.stream(rest[0] as StreamName)), config: { max_bytes: -1 } };
    const stream = this.stream(rest.at(-1) as StreamName);
    const query = JSON.parse(data) as { last_by_subj?: string; seq?: number; next_by_subj?: string };
    if (what === 'PURGE') {
      this.observer.onPurged(stream.purgeBelow(query.seq!));
      return { success: true };
    }
    const found =
      query.last_by_subj === undefined
        ? stream.next(query.next_by_subj!, query.seq!)
        : stream.last(query.last_by_subj);
    return found === undefined ? noMessage : { message: bodyOf(found) };
  }
}

function bodyOf({ sequence, data, headers, storedAtMs }: StoredMessage) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return {
    seq: sequence,
    data: Buffer.from(data).toString('base64'),
    hdrs: Buffer.from(['NATS/1.0', ...lines, ''].join('\r\n')).toString('base64'),
    time: new Date(storedAtMs).toISOString(),
  };
}

function stateOf({ messages, lastSequence }: StreamModel) {
  const all = [...messages.values()];
  return {
    messages: all.length,
    bytes: all.reduce((bytes, { data }) => bytes + data.length, 0),
    first_seq: all[0]?.sequence ?? lastSequence + 1,
    last_seq: lastSequence,
    first_ts: new Date(all[0]?.storedAtMs ?? 0).toISOString(),
  };
}

function textOf(data: string | Uint8Array): string {
  return typeof data === 'string' ? data : Buffer.from(data).toString();
}

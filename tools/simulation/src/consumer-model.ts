/** A durable pull consumer in memory: delivers each message until it is acknowledged, to whoever asks, and never says to whom. */
import type { Delivery } from '@ironflow/jetstream';
import { ackWaitMs } from '@ironflow/schema';
import type { ConsumerDefinition } from '@ironflow/schema';
import type { Process, World } from './process.js';
import { matches } from './stream-model.js';
import type { StoredMessage, StreamModel } from './stream-model.js';

export interface Puller {
  process: Process;
  capacity: () => number;
  onDelivery: (delivery: Delivery) => void;
  /** On their way to it. */
  outstanding: number;
}

interface Pending {
  deliveries: number;
  cancelTimeout: () => void;
}

/** The last sign of life of a delivery that was confirmed, by when it was sent: who answers later may disturb another. */
export interface DeliveryRecord {
  process: Process;
  confirmedAtMs: number;
  arrivedAtMs: number;
}

export interface ConsumerModelOptions {
  world: World;
  stream: StreamModel;
  definition: ConsumerDefinition;
  pullers: Puller[];
  isWorkQueue: boolean;
  /** What was answered, before it is on its way. */
  onAnswer: (delivery: DeliveryRecord, what: string, message: StoredMessage) => void;
  onArrival: (delivery: DeliveryRecord, message: StoredMessage, deliveries: number) => void;
}

const latencyMs = 0.2;
const beyondRoomDelayMs = 50;

export class ConsumerModel {
  private readonly pending = new Map<number, Pending>();
  private readonly again: number[] = [];
  private readonly counts = new Map<number, number>();
  private cursor: number;
  private dispatching = false;
  private isGone = false;

  constructor(private readonly options: ConsumerModelOptions) {
    this.cursor = options.stream.messages.keys().next().value ?? options.stream.lastSequence + 1;
    this.cursor -= 1;
  }

  get ackFloor(): number {
    return Math.min(this.cursor, ...[...this.pending.keys(), ...this.again].map((sequence) => sequence - 1));
  }

  get unfinished(): { pending: number; ackPending: number } {
    let pending = this.again.length;
    for (const { sequence, subject } of this.options.stream.messages.values()) {
      if (sequence > this.cursor && this.isMine(subject)) pending += 1;
    }
    return { pending, ackPending: this.pending.size };
  }

  /** The server has forgotten it. */
  remove(): void {
    this.isGone = true;
    for (const { cancelTimeout } of this.pending.values()) cancelTimeout();
  }

  dispatchSoon(): void {
    if (this.dispatching || this.isGone) return;
    this.dispatching = true;
    this.options.world.time.after(latencyMs, () => {
      this.dispatching = false;
      this.dispatch();
    });
  }

  private dispatch(): void {
    const { world, pullers } = this.options;
    for (;;) {
      const ready = pullers.filter((one) => one.process.isConnected && one.capacity() - one.outstanding > 0);
      if (this.isGone || ready.length === 0) return;
      const message = this.take();
      if (message === undefined) return;
      this.deliver(message, world.random.pick(ready));
    }
  }

  private take(): StoredMessage | undefined {
    const { messages } = this.options.stream;
    while (this.again.length > 0) {
      const message = messages.get(this.again.shift()!);
      if (message !== undefined) return message;
    }
    for (const message of messages.values()) {
      if (message.sequence <= this.cursor || !this.isMine(message.subject)) continue;
      this.cursor = message.sequence;
      return message;
    }
    return undefined;
  }

  private deliver(message: StoredMessage, puller: Puller): void {
    const { sequence } = message;
    const deliveries = (this.counts.get(sequence) ?? 0) + 1;
    this.counts.set(sequence, deliveries);
    this.pending.set(sequence, { deliveries, cancelTimeout: this.timeout(sequence) });
    puller.outstanding += 1;
    const { process } = puller;
    process.receive(
      () => {
        puller.outstanding -= 1;
        const delivery = this.deliveryOf(message, deliveries, process);
        if (puller.capacity() < 1) delivery.nak(beyondRoomDelayMs);
        else puller.onDelivery(delivery);
        this.dispatchSoon();
      },
      () => (puller.outstanding -= 1),
    );
  }

  private deliveryOf(message: StoredMessage, deliveryCount: number, process: Process): Delivery {
    const { sequence, data, subject, headers, storedAtMs } = message;
    const { time } = this.options.world;
    const record: DeliveryRecord = { process, confirmedAtMs: time.nowMs, arrivedAtMs: time.nowMs };
    this.options.onArrival(record, message, deliveryCount);
    const answer = (what: string, act: () => void): void => {
      this.options.onAnswer(record, what, message);
      process.send(() => {
        if (!this.options.world.faults.losesAnswer()) act();
      });
    };
    return {
      subject,
      data: Buffer.from(data),
      sequence,
      storedAtMs,
      deliveryCount,
      connectedSinceMs: process.connectedSinceMs,
      header: (name) => headers[name],
      text: () => data,
      ack: () => answer('ack', () => this.done(sequence)),
      term: () => answer('term', () => this.done(sequence)),
      nak: (delayMs = 0) => answer('nak', () => this.putBack(sequence, delayMs)),
      working: async () => {
        const sentAtMs = time.nowMs;
        const isHeard = await process.ask(() => this.keepAlive(sequence), false);
        if (isHeard) record.confirmedAtMs = Math.max(record.confirmedAtMs, sentAtMs);
        return isHeard;
      },
    };
  }

  private timeout(sequence: number): () => void {
    return this.options.world.time.after(ackWaitMs, () => this.putBack(sequence, 0));
  }

  private keepAlive(sequence: number): boolean {
    const pending = this.pending.get(sequence);
    if (pending === undefined) return !this.isGone;
    pending.cancelTimeout();
    pending.cancelTimeout = this.timeout(sequence);
    return true;
  }

  private done(sequence: number): void {
    const at = this.again.indexOf(sequence);
    if (at !== -1) this.again.splice(at, 1);
    if (this.isGone) return;
    this.pending.get(sequence)?.cancelTimeout();
    this.pending.delete(sequence);
    if (this.options.isWorkQueue) this.options.stream.messages.delete(sequence);
    this.dispatchSoon();
  }

  private putBack(sequence: number, delayMs: number): void {
    const pending = this.pending.get(sequence);
    if (pending === undefined || this.isGone) return;
    pending.cancelTimeout();
    const requeue = (): void => {
      if (!this.pending.delete(sequence)) return;
      this.again.push(sequence);
      this.dispatchSoon();
    };
    if (delayMs === 0) requeue();
    else pending.cancelTimeout = this.options.world.time.after(delayMs, requeue);
  }

  private isMine(subject: string): boolean {
    const { filterSubject } = this.options.definition;
    return filterSubject === undefined || matches(filterSubject, subject);
  }
}

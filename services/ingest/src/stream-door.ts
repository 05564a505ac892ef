/**
 * The door for NATS: events that cron puts into INGEST, and whoever else may publish there. Stored, published, and only
 * then acked.
 * 1. A message delivered twice is one event: its id is its maker's, or derives from its place in the stream.
 * 2. What cannot be an event, or would be refused over HTTP, is dead-lettered and not tried again; what cannot be stored
 *    now is.
 */
import type { IngestStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { ackWaitMs, consumers } from '@ironflow/schema';
import type { Clock, Logger, Metrics, Stoppable, TimerHandle } from '@ironflow/service';
import { createDeadLetters } from './dead-letters.js';
import type { Emit } from './emission.js';
import { createMessageReader } from './message-reader.js';

export interface StreamDoorOptions {
  jetstream: JetStream;
  emit: Emit;
  store: Pick<IngestStore, 'scopeOf' | 'scopeAt' | 'storeDeadLetter'>;
  metrics: Metrics;
  logger: Logger;
  clock: Clock;
}

export interface StreamDoor extends Stoppable {
  start(): void;
}

const concurrentMax = 500;
const retryDelayMs = 500;
/** An idempotency key that was used for something else will have been so the next time as well. */
const isForGood: ReadonlySet<string> = new Set(['invalid', 'conflict', 'too_large']);

export function createStreamDoor(options: StreamDoorOptions): StreamDoor {
  const { jetstream, emit, store, clock } = options;
  const deadLetters = createDeadLetters({ store, publisher: jetstream.publisher });
  const messages = createMessageReader(store);
  const inHand = new Map<Delivery, Promise<void>>();
  const taken = options.metrics.counter(
    'ingest_messages_total',
    'Messages of INGEST, by what became of them',
    ['outcome'],
  );
  let consumer: PullConsumer | undefined;
  let heartbeat: TimerHandle | undefined;

  async function take(delivery: Delivery): Promise<void> {
    const reading = await messages.read(delivery);
    if (reading.kind === 'unreadable') return bury(delivery, reading);
    const { published } = await emit(reading.request);
    await published;
    delivery.ack();
    taken.add(1, { outcome: 'stored' });
  }

  async function bury(
    delivery: Delivery,
    { rule, environmentId }: { rule: string; environmentId?: string | undefined },
  ): Promise<void> {
    await deadLetters.keep(delivery, { rule, environmentId, nowMs: clock.now() });
    delivery.term();
    taken.add(1, { outcome: 'dead_lettered' });
    options.logger.warn({ rule, sequence: delivery.sequence }, 'a message of INGEST was dead-lettered');
  }

  function putBack(delivery: Delivery): void {
    delivery.nak(retryDelayMs);
    taken.add(1, { outcome: 'put_back' });
  }

  function onDelivery(delivery: Delivery): void {
    const work = take(delivery)
      .catch(async (error: unknown) => {
        // What will never be taken has no better time to be tried again.
        if (!(error instanceof IronflowError) || !isForGood.has(error.category)) throw error;
        return bury(delivery, { rule: error.code, environmentId: await messages.environmentOf(delivery) });
      })
      .catch((error: unknown) => {
        options.logger.debug({ err: error }, 'a message of INGEST is put back');
        putBack(delivery);
      })
      .catch((error: unknown) => options.logger.warn({ err: error }, 'a message of INGEST was not answered'))
      .finally(() => {
        inHand.delete(delivery);
        consumer?.wake();
      });
    inHand.set(delivery, work);
  }

  /** Also for those just taken: asking when each was costs more than saying so. */
  function sayWorking(): void {
    for (const delivery of inHand.keys()) void delivery.working();
    heartbeat = clock.setTimeout(sayWorking, ackWaitMs / 3);
  }

  return {
    start: () => {
      consumer = jetstream.consume(consumers.ingest, {
        capacity: () => concurrentMax - inHand.size,
        onDelivery,
      });
      heartbeat = clock.setTimeout(sayWorking, ackWaitMs / 3);
    },
    stop: async () => {
      consumer?.stop();
      await Promise.all(inHand.values());
      heartbeat?.cancel();
    },
  };
}

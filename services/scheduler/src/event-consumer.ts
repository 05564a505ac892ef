/**
 * EVENTS, consumed: deliveries are read, gathered into batches as large as the batch before took long, routed, and
 * answered once what the commit made true is published. A message leaves only by an ack after its event was routed (or
 * found routed) or into the dead letters; anything else is put back.
 */
import { TurnoverMap } from '@ironflow/collections';
import { messageOf } from '@ironflow/errors';
import type { Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { ackWaitMs, consumers, storedEventSchema, subjects } from '@ironflow/schema';
import type { StoredEvent } from '@ironflow/schema';
import { createBatcher } from '@ironflow/service';
import type { Batcher, Clock, Logger, TimerHandle } from '@ironflow/service';
import type { DeadLetters } from './dead-letters.js';
import type { EventRouter, RoutedBatch } from './event-router.js';
import type { SchedulerMetrics } from './metrics.js';

export interface EventConsumerOptions {
  jetstream: Pick<JetStream, 'consume'>;
  router: EventRouter;
  deadLetters: DeadLetters;
  metrics: SchedulerMetrics;
  logger: Logger;
  clock: Clock;
  batchMax?: number;
  inFlightMax?: number;
}

export interface EventConsumer {
  start(): void;
  inFlight: () => number;
  /** Takes nothing new and waits for what was taken. */
  stop(): Promise<void>;
}

/** A delivery that is not answered yet. */
interface Taken {
  id: number;
  delivery: Delivery;
  sinceMs: number;
}

interface Item {
  taken: Taken;
  event: StoredEvent;
}

const defaultBatchMax = 500;
/** Several batches: one commits, one is announced, one gathers. Of `max_ack_pending`, it leaves room for other replicas. */
const defaultInFlightMax = 2_000;
/** Events are up to 512 KiB: two thousand of those would be too much. */
const inFlightBytesMax = 64 * 1024 * 1024;
const averagedDeliveries = 64;
const putBackDelayMs = 500;
/** A message that says it is alive every third of the ack wait survives the loss of one such word. */
const aliveIntervalMs = ackWaitMs / 3;

export function createEventConsumer(options: EventConsumerOptions): EventConsumer {
  const { router, metrics, logger, clock, inFlightMax = defaultInFlightMax } = options;
  const inFlight = createInFlight();
  let consumer: PullConsumer | undefined;
  let aliveTimer: TimerHandle | undefined;
  let onIdle: (() => void) | undefined;

  const answered = (taken: Taken): void => {
    inFlight.remove(taken);
    consumer?.wake();
    if (inFlight.size() === 0) onIdle?.();
  };
  const putBack = (taken: Taken, delayMs: number): void => {
    taken.delivery.nak(delayMs);
    metrics.event('put_back');
    answered(taken);
  };
  const finish = async (items: readonly Item[], batch: RoutedBatch): Promise<void> => {
    await router.announce(batch);
    for (const { taken, event } of items) {
      const outcome = batch.outcomes.get(event.id);
      if (outcome === undefined || outcome.kind === 'postponed') {
        putBack(taken, outcome?.delayMs ?? putBackDelayMs);
        continue;
      }
      taken.delivery.ack();
      metrics.event(outcome.kind);
      answered(taken);
    }
  };
  const batcher: Batcher<Item, void> = createBatcher({
    maxItems: options.batchMax ?? defaultBatchMax,
    maxConcurrent: 2,
    maxQueued: inFlightMax,
    run: async (items) => {
      const batch = await router.route(items.map(({ event }) => event));
      // The next batch need not wait for the publishing of this one.
      void finish(items, batch);
      return items.map(() => undefined);
    },
  });
  const bury = async (taken: Taken): Promise<void> => {
    const { delivery } = taken;
    try {
      await options.deadLetters.keep(delivery, clock.now());
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'a dead letter cannot be kept now; its message comes again');
      return putBack(taken, putBackDelayMs);
    }
    logger.error({ sequence: delivery.sequence }, 'an event message cannot be read; it is a dead letter now');
    delivery.term();
    metrics.event('unreadable');
    answered(taken);
  };
  const onDelivery = (delivery: Delivery): void => {
    const taken = inFlight.add(delivery, clock.now());
    const event = readEvent(delivery);
    if (event === undefined) void bury(taken);
    else batcher.add({ taken, event }).catch(() => putBack(taken, putBackDelayMs));
  };
  const keepAlive = (): void => {
    inFlight.keepAlive(clock.now());
    aliveTimer = clock.setTimeout(keepAlive, aliveIntervalMs);
  };

  return {
    start: () => {
      const capacity = (): number => inFlight.room(inFlightMax);
      consumer = options.jetstream.consume(consumers.scheduler, { capacity, onDelivery });
      aliveTimer = clock.setTimeout(keepAlive, aliveIntervalMs);
    },
    inFlight: inFlight.size,
    stop: async () => {
      consumer?.stop();
      await batcher.stop();
      if (inFlight.size() > 0) await new Promise<void>((resolve) => (onIdle = resolve));
      aliveTimer?.cancel();
    },
  };
}

/** What was delivered and is not answered yet, oldest first. */
function createInFlight() {
  const all = new TurnoverMap<number, Taken>();
  let added = 0;
  let bytes = 0;
  /** Of the recent ones: what the next are likely to take. */
  let averageBytes = 1_024;
  return {
    add: (delivery: Delivery, sinceMs: number): Taken => {
      const taken = { id: (added += 1), delivery, sinceMs };
      all.set(taken.id, taken);
      bytes += delivery.data.length;
      averageBytes += (delivery.data.length - averageBytes) / averagedDeliveries;
      return taken;
    },
    remove: (taken: Taken): void => {
      all.delete(taken.id);
      bytes -= taken.delivery.data.length;
    },
    size: (): number => all.size,
    room: (messagesMax: number): number =>
      Math.min(messagesMax - all.size, Math.floor((inFlightBytesMax - bytes) / averageBytes)),
    keepAlive: (nowMs: number): void => {
      for (const { delivery, sinceMs } of all.values()) {
        if (nowMs - sinceMs < aliveIntervalMs) break;
        void delivery.working();
      }
    },
  };
}

/** `undefined` for what is no stored event, or not one of the place that its subject names. */
function readEvent(delivery: Delivery): StoredEvent | undefined {
  let body: unknown;
  try {
    body = JSON.parse(delivery.text());
  } catch {
    return undefined;
  }
  const { data: event } = storedEventSchema.safeParse(body);
  return event !== undefined && subjects.event(event.scope, event.name) === delivery.subject
    ? event
    : undefined;
}

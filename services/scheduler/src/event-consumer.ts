/**
 * EVENTS, consumed: deliveries are read, routed, and answered once what the commit made true is published. A message leaves by an
 * ack after its event was routed (or found routed), or into the dead letters, or because its environment has its share in hand
 * already: then its event waits in Postgres, and the backlog brings it. Anything else is put back.
 *
 * So the stream is always read to its end, and whoever comes behind a flood is found at once.
 */
import { TurnoverMap } from '@ironflow/collections';
import { messageOf } from '@ironflow/errors';
import type { Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { ackWaitMs, consumers, headerNames, storedEventSchema, subjects } from '@ironflow/schema';
import type { StoredEvent } from '@ironflow/schema';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import type { DeadLetters } from './dead-letters.js';
import type { EventBacklog, EventName } from './event-backlog.js';
import type { EventOutcome } from './event-router.js';
import type { SchedulerMetrics } from './metrics.js';
import type { RoutingTurns } from './routing-turns.js';

export interface EventConsumerOptions {
  jetstream: Pick<JetStream, 'consume'>;
  turns: Pick<RoutingTurns, 'route'>;
  backlog: Pick<EventBacklog, 'add' | 'has'>;
  deadLetters: DeadLetters;
  metrics: SchedulerMetrics;
  logger: Logger;
  clock: Clock;
  inFlightMax?: number;
  /** Of one environment. */
  shareMax?: number;
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

/** Several batches: one commits, one is announced, one gathers. Of `max_ack_pending`, it leaves room for other replicas. */
const defaultInFlightMax = 2_000;
/** Events are up to 512 KiB: two thousand of those would be too much. */
const inFlightBytesMax = 64 * 1024 * 1024;
/** Two batches that are routed, two that are announced and what gathers; the rest of what may be in flight is for others. */
const defaultShareMax = 500;
const averagedDeliveries = 64;
const putBackDelayMs = 500;
/** A message that says it is alive every third of the ack wait survives the loss of one such word. */
const aliveIntervalMs = ackWaitMs / 3;

export function createEventConsumer(options: EventConsumerOptions): EventConsumer {
  const { turns, backlog, metrics, logger, clock } = options;
  const { inFlightMax = defaultInFlightMax, shareMax = defaultShareMax } = options;
  const inFlight = createInFlight();
  /** How many events of each environment are being routed. */
  const inHand = new Map<string, number>();
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
  const letGo = (taken: Taken, event: EventName): void => {
    backlog.add(event);
    taken.delivery.ack();
    metrics.event('let_go');
    answered(taken);
  };
  const settle = (taken: Taken, outcome: EventOutcome | undefined): void => {
    if (outcome === undefined || outcome.kind === 'postponed') {
      return putBack(taken, outcome?.delayMs ?? putBackDelayMs);
    }
    taken.delivery.ack();
    metrics.event(outcome.kind);
    answered(taken);
  };
  const routeEvent = async (taken: Taken, event: StoredEvent): Promise<void> => {
    const { environmentId } = event.scope;
    inHand.set(environmentId, (inHand.get(environmentId) ?? 0) + 1);
    settle(taken, await turns.route(event));
    const left = inHand.get(environmentId)! - 1;
    if (left > 0) inHand.set(environmentId, left);
    else inHand.delete(environmentId);
  };
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
  const hasRoom = (environmentId: string): boolean =>
    (inHand.get(environmentId) ?? 0) < shareMax && !backlog.has(environmentId);
  const onDelivery = (delivery: Delivery): void => {
    const taken = inFlight.add(delivery, clock.now());
    // A flood is let go of unread.
    const named = eventOfMessageId(delivery.header(headerNames.messageId));
    if (named !== undefined && !hasRoom(named.environmentId)) return letGo(taken, named);
    const event = readEvent(delivery);
    if (event === undefined) return void bury(taken);
    const { id, scope } = event;
    if (hasRoom(scope.environmentId)) void routeEvent(taken, event);
    else letGo(taken, { id, environmentId: scope.environmentId });
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

/** As ingest has it: of the environment, and of the event. */
function eventOfMessageId(messageId: string | undefined): EventName | undefined {
  const [environmentId, id, ...more] = messageId?.split('.') ?? [];
  if (environmentId === undefined || id === undefined || more.length > 0) return undefined;
  return { environmentId, id };
}

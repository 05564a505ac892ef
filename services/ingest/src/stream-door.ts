/**
 * The door for NATS: events that cron puts into INGEST, as tenants may with direct access. Stored, published, and only
 * then acked.
 * 1. The id is its maker's, so that a message delivered twice is one event.
 * 2. The environment is named in the body and must be the one of the subject: a tenant may publish below its own subjects
 *    only, and the body is whatever it wrote.
 * 3. What cannot be an event, or would be refused over HTTP, is dead-lettered and not tried again; what cannot be stored
 *    now is.
 */
import type { IngestStore } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import type { Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { ackWaitMs, consumers, ingestMessageSchema, subjects } from '@ironflow/schema';
import type { IngestMessage, Scope } from '@ironflow/schema';
import type { Clock, Logger, Metrics, Stoppable, TimerHandle } from '@ironflow/service';
import { createDeadLetters } from './dead-letters.js';
import { isHeaderText, requireDataText } from './emitted-event.js';
import type { Emit } from './emission.js';

export interface StreamDoorOptions {
  jetstream: JetStream;
  emit: Emit;
  store: Pick<IngestStore, 'scopeOf' | 'storeDeadLetter'>;
  metrics: Metrics;
  logger: Logger;
  clock: Clock;
}

export interface StreamDoor extends Stoppable {
  start(): void;
}

const concurrentMax = 500;
const retryDelayMs = 500;

type Reading = { kind: 'event'; message: IngestMessage } | { kind: 'unreadable'; rule: string };

export function createStreamDoor(options: StreamDoorOptions): StreamDoor {
  const { jetstream, emit, store, clock } = options;
  const deadLetters = createDeadLetters({ store, publisher: jetstream.publisher });
  const inHand = new Map<Delivery, Promise<void>>();
  const taken = options.metrics.counter(
    'ingest_messages_total',
    'Messages of INGEST, by what became of them',
  );
  let consumer: PullConsumer | undefined;
  let heartbeat: TimerHandle | undefined;

  async function take(delivery: Delivery): Promise<void> {
    const reading = readIngestMessage(delivery);
    if (reading.kind === 'unreadable') return bury(delivery, reading.rule);
    const { message } = reading;
    const scope = await store.scopeOf(message.environmentId);
    if (scope === undefined || !isWithin(delivery.subject, scope, message.name)) {
      return bury(delivery, 'environment, name and subject do not belong together');
    }
    const { source, traceparent, environmentId: _environmentId, ...event } = message;
    const { published } = await emit({ scope, source, traceparent, events: [event] });
    await published;
    delivery.ack();
    taken.add(1, { outcome: 'stored' });
  }

  async function bury(delivery: Delivery, rule: string): Promise<void> {
    await deadLetters.keep(delivery, { rule, nowMs: clock.now() });
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
      .catch((error: unknown) => {
        // What the database will never take has no better time to be tried again.
        if (error instanceof IronflowError && error.category === 'invalid') return bury(delivery, error.code);
        throw error;
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

function readIngestMessage(delivery: Delivery): Reading {
  const parsed = ingestMessageSchema.safeParse(parseJson(delivery.text()));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    return { kind: 'unreadable', rule: `${issue.path.join('.')} ${issue.message}` };
  }
  const { data, correlationId, causationId } = parsed.data;
  const isText = [correlationId, causationId].every((text) => text === undefined || isHeaderText(text));
  if (!isText) return { kind: 'unreadable', rule: 'ids must be printable ASCII' };
  if (parseJson(data) === undefined) return { kind: 'unreadable', rule: 'data must be JSON text' };
  const rule = brokenDataRule(data);
  return rule === undefined ? { kind: 'event', message: parsed.data } : { kind: 'unreadable', rule };
}

function brokenDataRule(data: string): string | undefined {
  try {
    requireDataText(data, 'data');
    return undefined;
  } catch (error) {
    return `data ${messageOf(error)}`;
  }
}

/** `undefined` for what is not JSON; JSON itself has no such value. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function isWithin(subject: string, scope: Scope, eventName: string): boolean {
  return subject === subjects.ingest(scope, eventName);
}

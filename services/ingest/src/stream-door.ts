/**
 * The door for NATS: events that cron puts into INGEST, and whoever else may publish there. Stored, published, and only
 * then acked.
 * 1. A message delivered twice is one event: its id is its maker's, or derives from its place in the stream.
 * 2. The platform's own events, by their reserved names, are whole messages: their environment is named in the body and must
 *    be the one of the subject. Of all others the body is nothing but the event's data, and the subject alone says whose and
 *    what it is: a tenant may publish below its own subjects only.
 * 3. What cannot be an event, or would be refused over HTTP, is dead-lettered and not tried again; what cannot be stored
 *    now is.
 */
import type { IngestStore } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import type { Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import {
  ackWaitMs,
  consumers,
  deriveIngestedEventId,
  ingestMessageSchema,
  parseSubject,
  reservedEventPrefix,
  subjects,
} from '@ironflow/schema';
import type { IngestMessage, Scope } from '@ironflow/schema';
import type { Clock, Logger, Metrics, Stoppable, TimerHandle } from '@ironflow/service';
import { createDeadLetters } from './dead-letters.js';
import { isHeaderText, requireDataText } from './emitted-event.js';
import type { Emit, EmissionRequest } from './emission.js';
import { readPlainMessage } from './plain-message.js';

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

type Reading =
  | { kind: 'event'; request: EmissionRequest }
  /** `environmentId`: whose it is, where the subject says it. */
  | { kind: 'unreadable'; rule: string; environmentId?: string };

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
    const reading = await read(delivery);
    if (reading.kind === 'unreadable') return bury(delivery, reading);
    const { published } = await emit(reading.request);
    await published;
    delivery.ack();
    taken.add(1, { outcome: 'stored' });
  }

  async function read(delivery: Delivery): Promise<Reading> {
    const place = parseSubject(delivery.subject);
    if (place?.kind !== 'ingest') return { kind: 'unreadable', rule: 'the subject is none of an event' };
    if (place.eventName.startsWith(reservedEventPrefix)) return readWhole(delivery);
    const scope = await store.scopeAt(place);
    if (scope === undefined) return { kind: 'unreadable', rule: 'there is no environment of this subject' };
    const { environmentId } = scope;
    const reading = readPlainMessage(delivery, place.eventName);
    if (reading.kind === 'unreadable') return { ...reading, environmentId };
    const { event, traceparent } = reading;
    const { sequence, storedAtMs } = delivery;
    const id = deriveIngestedEventId({ environmentId, sequence, storedAtMs });
    return {
      kind: 'event',
      request: { scope, source: 'nats', traceparent, events: [{ ...event, id }] },
    };
  }

  async function readWhole(delivery: Delivery): Promise<Reading> {
    const reading = readIngestMessage(delivery);
    if (reading.kind === 'unreadable') return reading;
    const { source, traceparent, environmentId, ...event } = reading.message;
    const scope = await store.scopeOf(environmentId);
    if (scope === undefined || !isWithin(delivery.subject, scope, event.name)) {
      return { kind: 'unreadable', rule: 'environment, name and subject do not belong together' };
    }
    return { kind: 'event', request: { scope, source, traceparent, events: [event] } };
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

  /** Of a message for which only the subject says it. */
  async function environmentOf({ subject }: Delivery): Promise<string | undefined> {
    const place = parseSubject(subject);
    if (place?.kind !== 'ingest' || place.eventName.startsWith(reservedEventPrefix)) return undefined;
    return (await store.scopeAt(place))?.environmentId;
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
        return bury(delivery, { rule: error.code, environmentId: await environmentOf(delivery) });
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

function readIngestMessage(
  delivery: Delivery,
): { kind: 'event'; message: IngestMessage } | { kind: 'unreadable'; rule: string } {
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

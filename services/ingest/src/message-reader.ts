/**
 * What messages of INGEST say. The platform's own events, by their reserved names, are whole messages: their environment is named
 * in the body and must be the one of the subject. Of all others the body is nothing but the event's data, and the subject alone says
 * whose and what it is: a tenant may publish below its own subjects only.
 */
import type { IngestStore } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Delivery } from '@ironflow/jetstream';
import {
  deriveIngestedEventId,
  ingestMessageSchema,
  isHeaderText,
  parseSubject,
  reservedEventPrefix,
  subjects,
} from '@ironflow/schema';
import type { IngestMessage, Scope } from '@ironflow/schema';
import { requireDataText } from './emitted-event.js';
import type { EmissionRequest } from './emission.js';
import { readPlainMessage } from './plain-message.js';

export type Reading =
  | { kind: 'event'; request: EmissionRequest }
  /** `environmentId`: whose it is, where the subject says it. */
  | { kind: 'unreadable'; rule: string; environmentId?: string };

export interface MessageReader {
  read(delivery: Delivery): Promise<Reading>;
  /** Of a message for which only the subject says it. */
  environmentOf(delivery: Delivery): Promise<string | undefined>;
}

export function createMessageReader(store: Pick<IngestStore, 'scopeOf' | 'scopeAt'>): MessageReader {
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

  async function environmentOf({ subject }: Delivery): Promise<string | undefined> {
    const place = parseSubject(subject);
    if (place?.kind !== 'ingest' || place.eventName.startsWith(reservedEventPrefix)) return undefined;
    return (await store.scopeAt(place))?.environmentId;
  }

  return { read, environmentOf };
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

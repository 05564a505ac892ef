/**
 * An event as anybody publishes it with a NATS client: its name is the end of its subject, its data the message, and what else
 * there is to say is in headers. Pure.
 */
import { isUtf8 } from 'node:buffer';
import { messageOf } from '@ironflow/errors';
import type { Delivery } from '@ironflow/jetstream';
import { describeIssue, emittedEventSchema, headerNames } from '@ironflow/schema';
import { prepareText, requireDataText } from './emitted-event.js';
import type { PreparedEvent } from './emitted-event.js';

export type PlainReading =
  | { kind: 'event'; event: PreparedEvent; traceparent: string | undefined }
  /** It would be refused over HTTP as well. */
  | { kind: 'unreadable'; rule: string };

const headersSchema = emittedEventSchema.omit({ data: true });

export function readPlainMessage(
  delivery: Pick<Delivery, 'data' | 'text' | 'header'>,
  name: string,
): PlainReading {
  if (!isUtf8(delivery.data)) return { kind: 'unreadable', rule: 'data must be JSON in UTF-8' };
  const parsed = headersSchema.safeParse({ name, ...headersOf(delivery) });
  if (!parsed.success) {
    const { field, message } = describeIssue(parsed.error.issues[0]!);
    return { kind: 'unreadable', rule: `${field} ${message}` };
  }
  // A message without a body is an event without data.
  const data = delivery.data.length === 0 ? 'null' : delivery.text();
  try {
    requireDataText(data, 'data');
    JSON.parse(data);
    const event = prepareText(parsed.data, data);
    return { kind: 'event', event, traceparent: delivery.header(headerNames.traceparent) };
  } catch (error) {
    // What a parser says has a piece of the data in it.
    const rule = error instanceof SyntaxError ? 'data must be JSON' : messageOf(error);
    return { kind: 'unreadable', rule };
  }
}

function headersOf({ header }: Pick<Delivery, 'header'>): Record<string, string> {
  const given = {
    idempotencyKey: header(headerNames.idempotencyKey) ?? header(headerNames.messageId),
    version: header(headerNames.eventVersion),
    correlationId: header(headerNames.correlationId),
    causationId: header(headerNames.causationId),
  };
  return Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

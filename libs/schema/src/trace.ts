/** W3C Trace Context, and the span id that a run's root span has before it exists. */
import { createHash } from 'node:crypto';

export interface TraceContext {
  /** 32 hex digits. */
  traceId: string;
  /** 16 hex digits. */
  spanId: string;
  sampled: boolean;
}

const pattern = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** `undefined` for anything that is not a valid traceparent, as the specification asks. */
export function parseTraceparent(value: string | undefined): TraceContext | undefined {
  const match = value === undefined ? null : pattern.exec(value);
  if (match === null || value!.startsWith('ff') || /^0+$/.test(match[1]!) || /^0+$/.test(match[2]!))
    return undefined;
  return { traceId: match[1]!, spanId: match[2]!, sampled: (Number.parseInt(match[3]!, 16) & 1) === 1 };
}

export function formatTraceparent(context: TraceContext): string {
  return `00-${context.traceId}-${context.spanId}-${context.sampled ? '01' : '00'}`;
}

/**
 * By the conventions of OpenTelemetry for messaging. The template and never the subject, which has ids in it and would make every message a
 * destination of its own.
 */
export function messagingAttributes(
  operation: 'send' | 'process',
  kind: MessageKind,
): Record<string, string> {
  return {
    'messaging.system': 'nats',
    'messaging.operation.name': operation,
    'messaging.operation.type': operation,
    'messaging.destination.template': `ironflow.{project}.{env}.${kind}`,
  };
}

type MessageKind = 'ingest' | 'events' | 'steps' | 'results';

/** The root span of a run ends long after its children begin: its id is known beforehand because it is derived. */
export function runSpanId(runId: string): string {
  return createHash('sha256').update(`span\n${runId}`).digest('hex').slice(0, 16);
}

/** A span as the services record it, and its form for the exporters of OpenTelemetry. */
import { SpanKind as OtelSpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import type { SpanContext } from '@opentelemetry/api';
import { hrTimeDuration, millisToHrTime } from '@opentelemetry/core';
import type { Resource } from '@opentelemetry/resources';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';

export interface RecordedSpan {
  name: string;
  /** 32 hex digits. */
  traceId: string;
  /** 16 hex digits. */
  spanId: string;
  parentSpanId?: string | undefined;
  kind: SpanKind;
  startTimeMs: number;
  endTimeMs: number;
  /** Never payload: what is here leaves the platform. */
  attributes?: SpanAttributes | undefined;
  links?: readonly SpanLink[] | undefined;
  /** Marks the span as failed and is its `error.type`; a code or category, not a message of the tenant. */
  error?: string | undefined;
}

export type SpanKind = 'internal' | 'server' | 'producer' | 'consumer' | 'client';
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanLink {
  traceId: string;
  spanId: string;
}

/** The span counts as sampled: only such spans are recorded. */
export function toReadableSpan(span: RecordedSpan, resource: Resource): ReadableSpan {
  const { traceId, parentSpanId, error } = span;
  const context = contextOf(traceId, span.spanId);
  const startTime = millisToHrTime(span.startTimeMs);
  const endTime = millisToHrTime(span.endTimeMs);
  return {
    name: span.name,
    kind: OtelSpanKind[span.kind.toUpperCase() as Uppercase<SpanKind>],
    spanContext: () => context,
    ...(parentSpanId !== undefined && { parentSpanContext: contextOf(traceId, parentSpanId) }),
    startTime,
    endTime,
    duration: hrTimeDuration(startTime, endTime),
    ended: true,
    status:
      error === undefined ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: error },
    attributes: { ...span.attributes, ...(error === undefined ? {} : { 'error.type': error }) },
    links: span.links?.map((link) => ({ context: contextOf(link.traceId, link.spanId) })) ?? [],
    events: [],
    resource,
    instrumentationScope: { name: 'ironflow' },
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

function contextOf(traceId: string, spanId: string): SpanContext {
  return { traceId, spanId, traceFlags: TraceFlags.SAMPLED };
}

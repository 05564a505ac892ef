/**
 * Spans as OTLP/JSON. Written by hand because thousands of spans a second share two cores with everything else: the
 * OpenTelemetry transformer needs about twice the CPU, most of it for intermediate objects.
 */
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
  /** Marks the span as failed; a code or category, not a message of the tenant. */
  error?: string | undefined;
}

export type SpanKind = 'internal' | 'server' | 'producer' | 'consumer' | 'client';
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanLink {
  traceId: string;
  spanId: string;
}

/** Everything around the spans of a request: it is the same for all requests of a process. */
export function createSpanEncoder(resourceAttributes: SpanAttributes): (spans: RecordedSpan[]) => string {
  const head =
    `{"resourceSpans":[{"resource":{"attributes":${encodeAttributes(resourceAttributes)}},` +
    `"scopeSpans":[{"scope":{"name":"ironflow"},"spans":[`;
  return (spans) => {
    let text = head;
    for (let index = 0; index < spans.length; index += 1) {
      if (index > 0) text += ',';
      text += encodeSpan(spans[index]!);
    }
    return `${text}]}]}]}`;
  };
}

const kindNumbers: Record<SpanKind, number> = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 };
const statusError = 2;

function encodeSpan(span: RecordedSpan): string {
  let text =
    `{"traceId":${quote(span.traceId)},"spanId":${quote(span.spanId)},"name":${quote(span.name)},` +
    `"kind":${kindNumbers[span.kind]},"startTimeUnixNano":"${nanoseconds(span.startTimeMs)}",` +
    `"endTimeUnixNano":"${nanoseconds(span.endTimeMs)}","flags":1`;
  if (span.parentSpanId !== undefined) text += `,"parentSpanId":${quote(span.parentSpanId)}`;
  if (span.attributes !== undefined) text += `,"attributes":${encodeAttributes(span.attributes)}`;
  if (span.links !== undefined && span.links.length > 0)
    text += `,"links":[${span.links.map(encodeLink).join()}]`;
  if (span.error !== undefined) text += `,"status":{"code":${statusError},"message":${quote(span.error)}}`;
  return `${text}}`;
}

function encodeLink(link: SpanLink): string {
  return `{"traceId":${quote(link.traceId)},"spanId":${quote(link.spanId)}}`;
}

function encodeAttributes(attributes: SpanAttributes): string {
  let text = '[';
  for (const key of Object.keys(attributes)) {
    if (text.length > 1) text += ',';
    text += `{"key":${quote(key)},"value":${encodeValue(attributes[key]!)}}`;
  }
  return `${text}]`;
}

function encodeValue(value: string | number | boolean): string {
  if (typeof value === 'string') return `{"stringValue":${quote(value)}}`;
  if (typeof value === 'boolean') return `{"boolValue":${value}}`;
  if (Number.isSafeInteger(value)) return `{"intValue":"${value}"}`;
  // Protocol buffers write the numbers JSON has no word for as strings.
  return Number.isFinite(value) ? `{"doubleValue":${value}}` : `{"doubleValue":"${value}"}`;
}

/** Anything that is not plain goes to JSON.stringify, lone surrogates included; most strings are plain. */
const notPlain = /["\\\u0000-\u001f\ud800-\udfff]/;

function quote(text: string): string {
  return notPlain.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** Milliseconds with fractions to whole nanoseconds, which do not fit a number. */
function nanoseconds(timeMs: number): string {
  const wholeMs = Math.floor(timeMs);
  // The fraction is kept below a whole millisecond when rounding would carry over.
  const rest = Math.min(999_999, Math.round((timeMs - wholeMs) * 1e6));
  return `${wholeMs}${String(rest).padStart(6, '0')}`;
}

/**
 * The way of an event through ingest, whichever door it came in by: trace, commit, publish, and perhaps wait. The answer
 * comes after the commit and does not wait for NATS.
 */
import { randomFillSync } from 'node:crypto';
import type { NewEvent, StoredEventReceipt } from '@ironflow/database';
import type { Notices } from '@ironflow/jetstream';
import { createId, formatTraceparent, parseTraceparent } from '@ironflow/schema';
import type { EventSource, Scope, StoredEvent } from '@ironflow/schema';
import type { Clock, Metrics, SpanRecorder } from '@ironflow/service';
import type { Acceptance } from './acceptance.js';
import type { PreparedEvent } from './emitted-event.js';
import type { Publication } from './publication.js';
import type { Wait, Waiter } from './waiter.js';

export interface EmissionOptions {
  acceptance: Acceptance;
  publication: Publication;
  waiter: Waiter;
  notices: Pick<Notices, 'publishEventScheduled'>;
  spans: SpanRecorder;
  metrics: Metrics;
  clock: Clock;
}

export interface EmissionRequest {
  scope: Scope;
  source: EventSource;
  events: readonly (PreparedEvent & Addressed & { id?: string })[];
  /** Of the caller; each event begins a trace of its own without. */
  traceparent?: string | undefined;
  waitMs?: number | undefined;
}

/** Set on events that are for one function, whatever the triggers say, or for one of its schedules. */
export type Addressed = Pick<NewEvent, 'functionId' | 'rerunOf' | 'rerunFromStep' | 'scheduleId'>;

export interface Emission {
  /** In the order of the events. */
  ids: string[];
  /** When a wait was asked for. */
  wait?: Wait;
  /** Resolves when the stream has answered for every event: for those whose own message is acknowledged then. */
  published: Promise<unknown>;
}

export type Emit = (request: EmissionRequest) => Promise<Emission>;

interface Accepting {
  event: NewEvent;
  traceId: string;
  spanId: string;
  parentSpanId: string | undefined;
  sampled: boolean;
}

export function createEmit(options: EmissionOptions): Emit {
  const { acceptance, publication, waiter, clock } = options;
  const count = createCounts(options.metrics);

  function wait(request: EmissionRequest, receipts: StoredEventReceipt[]): Wait | undefined {
    if (request.waitMs === undefined) return undefined;
    const eventIds = receipts.map(({ id }) => id);
    return waiter.begin({ scope: request.scope, eventIds, waitMs: request.waitMs });
  }

  /** Whoever delivers them asks for the others then. */
  function announceFirst(scope: Scope, scheduled: StoredEventReceipt[]): void {
    const dueInMs = Math.min(...scheduled.map((receipt) => receipt.dueInMs!));
    options.notices.publishEventScheduled({ scope, eventId: scheduled[0]!.id, dueInMs });
  }

  return async (request) => {
    if (request.waitMs !== undefined) waiter.requireRoom();
    const startedAtMs = clock.now();
    const accepting = prepare(request, startedAtMs, options.spans);
    const receipts = await acceptance.accept(
      request.scope.environmentId,
      accepting.map(({ event }) => event),
    );
    recordSpans(options.spans, request, accepting, { startTimeMs: startedAtMs, endTimeMs: clock.now() });
    // Before publishing: the notice of a quick run would come too early otherwise.
    const waiting = wait(request, receipts);
    const published: Promise<void>[] = [];
    const scheduled: StoredEventReceipt[] = [];
    for (const [index, receipt] of receipts.entries()) {
      count(request.source, receipt);
      if (receipt.duplicate) continue;
      if (receipt.dueInMs !== undefined) {
        scheduled.push(receipt);
        continue;
      }
      published.push(publication.publish(toStoredEvent(request, accepting[index]!.event, receipt)));
    }
    if (scheduled.length > 0) announceFirst(request.scope, scheduled);
    if (published.length < receipts.length) waiting?.check();
    return {
      ids: receipts.map(({ id }) => id),
      ...(waiting === undefined ? {} : { wait: waiting }),
      published: Promise.all(published),
    };
  };
}

const idRandomBytes = 10;
/** Random bytes of the next ids: asking the system for each id's costs more than the rest of making it. */
const randomPool = new Uint8Array(512 * idRandomBytes);
let randomUsed = randomPool.length;

function randomForId(): Uint8Array {
  if (randomUsed === randomPool.length) {
    randomFillSync(randomPool);
    randomUsed = 0;
  }
  return randomPool.subarray(randomUsed, (randomUsed += idRandomBytes));
}

/** One that comes later is among the events of that time. */
function idAt(atMs: number | undefined, nowMs: number): string | undefined {
  return atMs === undefined || atMs <= nowMs ? undefined : createId(atMs, randomForId());
}

function prepare(request: EmissionRequest, nowMs: number, spans: SpanRecorder): Accepting[] {
  const parent = parseTraceparent(request.traceparent);
  // In their order: what is queued by time goes by it.
  const ids = request.events.map(() => createId(nowMs, randomForId())).sort();
  return request.events.map((prepared, index) => {
    const traceId = parent?.traceId ?? spans.newTraceId();
    const spanId = spans.newSpanId();
    const sampled = parent?.sampled ?? spans.shouldSample(traceId);
    const { id = idAt(prepared.atMs, nowMs) ?? ids[index]! } = prepared;
    const traceparent = formatTraceparent({ traceId, spanId, sampled });
    return {
      event: { ...prepared, id, source: request.source, traceparent },
      traceId,
      spanId,
      parentSpanId: parent?.spanId,
      sampled,
    };
  });
}

function toStoredEvent(request: EmissionRequest, event: NewEvent, receipt: StoredEventReceipt): StoredEvent {
  return {
    id: receipt.id,
    scope: request.scope,
    name: event.name,
    data: event.data,
    ...(event.version === undefined ? {} : { version: event.version }),
    source: event.source,
    receivedAtMs: receipt.receivedAtMs,
    correlationId: receipt.correlationId,
    ...(event.causationId === undefined ? {} : { causationId: event.causationId }),
    ...(event.traceparent === undefined ? {} : { traceparent: event.traceparent }),
    ...(request.waitMs === undefined ? {} : { awaited: true }),
    ...(event.functionId === undefined ? {} : { functionId: event.functionId }),
    ...(event.rerunOf === undefined ? {} : { rerunOf: event.rerunOf }),
    ...(event.rerunFromStep === undefined ? {} : { rerunFromStep: event.rerunFromStep }),
  };
}

function recordSpans(
  spans: SpanRecorder,
  { scope, source }: EmissionRequest,
  accepting: Accepting[],
  times: { startTimeMs: number; endTimeMs: number },
): void {
  if (!spans.enabled) return;
  for (const { event, traceId, spanId, parentSpanId, sampled } of accepting) {
    if (!sampled) continue;
    spans.record({
      name: 'workflow.accept',
      traceId,
      spanId,
      parentSpanId,
      kind: 'server',
      ...times,
      attributes: {
        'ironflow.project': scope.project,
        'ironflow.env': scope.env,
        'ironflow.event.id': event.id,
        'ironflow.event.name': event.name,
        'ironflow.event.source': source,
      },
    });
  }
}

function createCounts(metrics: Metrics) {
  const accepted = metrics.counter('ingest_events_accepted_total', 'Events stored, by where they came from', [
    'source',
  ]);
  const duplicates = metrics.counter('ingest_events_duplicate_total', 'Events that were stored before');
  const bySource = {
    http: accepted.bind({ source: 'http' }),
    invoke: accepted.bind({ source: 'invoke' }),
    cron: accepted.bind({ source: 'cron' }),
    nats: accepted.bind({ source: 'nats' }),
    rerun: accepted.bind({ source: 'rerun' }),
    replay: accepted.bind({ source: 'replay' }),
    system: accepted.bind({ source: 'system' }),
    webhook: accepted.bind({ source: 'webhook' }),
  } satisfies Record<EventSource, unknown>;
  return (source: EventSource, receipt: StoredEventReceipt): void => {
    if (receipt.duplicate) duplicates.add();
    else bySource[source].add();
  };
}

/**
 * Spans, recorded after the fact with explicit ids and times: no tracer, no active span, no context, because the trace
 * context travels in messages and rows. OpenTelemetry's batch processor queues them and its OTLP/HTTP exporter encodes,
 * sends and repeats; here a span gets its OpenTelemetry form, and what is lost is counted.
 * 1. The queue is bounded; what does not fit is dropped and counted, never waited for.
 * 2. Whether a trace is recorded is decided once, from its id, so that every service decides the same.
 */
import { ExportResultCode } from '@opentelemetry/core';
import type { ExportResult } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, RandomIdGenerator } from '@opentelemetry/sdk-trace-base';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { systemClock } from './clock.js';
import type { Clock } from './clock.js';
import type { Stoppable } from './lifecycle.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import { platformVersion } from './platform-version.js';
import { toReadableSpan } from './span-encoding.js';
import type { RecordedSpan } from './span-encoding.js';

export interface SpanRecorderOptions {
  service: string;
  /** The base URL of a collector; without it nothing is recorded. OTEL_EXPORTER_OTLP_HEADERS applies. */
  endpoint?: string | undefined;
  /** The share of traces that `shouldSample` picks; default 1. */
  sampleRatio?: number;
  /** Default 1 s. */
  flushIntervalMs?: number;
  /** Default 20,000: a few seconds at full load, some ten megabytes. */
  queueLimit?: number;
  logger?: Logger;
  metrics?: Metrics;
  /** For the deadline of `shutdown`; OpenTelemetry keeps its own time. */
  clock?: Clock;
}

export interface SpanRecorder extends Stoppable {
  /** False without an endpoint: callers may spare themselves building the span. */
  readonly enabled: boolean;
  /** Takes spans of sampled traces only: the caller knows the flag. The span must not be changed afterwards. */
  record(span: RecordedSpan): void;
  newSpanId(): string;
  newTraceId(): string;
  shouldSample(traceId: string): boolean;
  /** Resolves when all that was recorded before is sent or given up. */
  forceFlush(): Promise<void>;
  /** Sends what is left, for three seconds at most. Later spans are ignored. */
  shutdown(): Promise<void>;
}

export function createSpanRecorder(options: SpanRecorderOptions): SpanRecorder {
  const { endpoint, sampleRatio = 1 } = options;
  const queue = endpoint === undefined ? silentQueue : createExportQueue(options, endpoint);
  const ids = new RandomIdGenerator();
  return {
    enabled: endpoint !== undefined,
    record: queue.record,
    newSpanId: () => ids.generateSpanId(),
    newTraceId: () => ids.generateTraceId(),
    shouldSample: (traceId) =>
      sampleRatio >= 1 || Number.parseInt(traceId.slice(-8), 16) < sampleRatio * 2 ** 32,
    forceFlush: queue.flush,
    shutdown: queue.shutdown,
    stop: queue.shutdown,
  };
}

interface SpanQueue {
  record: (span: RecordedSpan) => void;
  flush: () => Promise<void>;
  shutdown: () => Promise<void>;
}

const silentQueue: SpanQueue = { record: () => {}, flush: async () => {}, shutdown: async () => {} };

/** About 350 kB of JSON. */
const batchSpansMax = 512;
const shutdownTimeoutMs = 3_000;

function createExportQueue(options: SpanRecorderOptions, endpoint: string): SpanQueue {
  const { flushIntervalMs = 1_000, queueLimit = 20_000, clock = systemClock } = options;
  const outcomes = createOutcomes(options);
  const resource = resourceFromAttributes({
    'service.name': options.service,
    'service.version': platformVersion,
    'service.namespace': 'ironflow',
  });
  const exporter = new OTLPTraceExporter({
    url: `${endpoint.replace(/\/+$/, '')}/v1/traces`,
    // A flush sends a full queue at once, beside a batch under way; the exporter drops what exceeds its limit.
    concurrencyLimit: Math.ceil(queueLimit / batchSpansMax) + 2,
  });
  let queued = 0;
  let unsettled = 0;
  let ending: Promise<void> | undefined;

  function exportBatch(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    queued -= spans.length;
    exporter.export(spans, (result) => {
      // After the deadline of `shutdown` nothing is unsettled: these spans were counted as lost there.
      if (unsettled > 0) outcomes.settled(spans.length, result);
      unsettled = Math.max(0, unsettled - spans.length);
      // The loss is dealt with. Told of it, the processor would reject flushes and start exports side by side.
      done({ code: ExportResultCode.SUCCESS });
    });
  }
  const processor = new BatchSpanProcessor(
    { export: exportBatch, shutdown: () => exporter.shutdown() },
    {
      maxQueueSize: queueLimit,
      maxExportBatchSize: Math.min(batchSpansMax, queueLimit),
      scheduledDelayMillis: flushIntervalMs,
    },
  );

  function record(span: RecordedSpan): void {
    if (ending !== undefined) return;
    // The processor has the same limit, but tells nobody in this process what it drops.
    if (queued >= queueLimit) return outcomes.queueFull();
    queued += 1;
    unsettled += 1;
    processor.onEnd(toReadableSpan(span, resource));
  }

  /** The processor waits only for batches it starts now; the exporter also knows the one under way. */
  async function flush(): Promise<void> {
    await Promise.allSettled([processor.forceFlush(), exporter.forceFlush()]);
  }

  async function end(): Promise<void> {
    await new Promise<void>((resolve) => {
      const deadline = clock.setTimeout(resolve, shutdownTimeoutMs);
      void Promise.allSettled([processor.shutdown()]).then(() => (deadline.cancel(), resolve()));
    });
    outcomes.givenUp(unsettled);
    unsettled = 0;
  }

  return { record, flush, shutdown: () => (ending ??= end()) };
}

/** Counts what became of spans, and logs the first failed export of a row: a collector that is down is one event. */
function createOutcomes({ metrics, logger }: SpanRecorderOptions) {
  const dropped = metrics?.counter('spans_dropped_total', 'Spans that were not sent, by reason', ['reason']);
  const sent = metrics?.counter('spans_sent_total', 'Spans the collector took');
  const queueFull = dropped?.bind({ reason: 'queue_full' });
  const failed = dropped?.bind({ reason: 'export_failed' });
  let isFailing = false;
  return {
    queueFull: () => queueFull?.add(),
    givenUp: (count: number) => failed?.add(count),
    settled(count: number, { code, error }: ExportResult): void {
      const isSent = code === ExportResultCode.SUCCESS;
      if (isSent) sent?.add(count);
      else failed?.add(count);
      // Only the status or system code: the message and the answer's body are the collector's words.
      const reason = error !== undefined && 'code' in error ? error.code : 'unknown';
      if (!isSent && !isFailing) logger?.warn({ spans: count, reason }, 'spans were dropped');
      isFailing = !isSent;
    },
  };
}

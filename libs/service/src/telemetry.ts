/**
 * Spans, recorded after the fact with explicit ids and times and sent in batches over OTLP/HTTP. There is no tracer, no
 * active span and no context: the trace context travels in messages and rows, and hot paths pay for one array push.
 * 1. The queue is bounded; what does not fit is dropped and counted, never waited for.
 * 2. One export is in flight at a time; it is tried a few times, then its spans are dropped and counted.
 * 3. Whether a trace is recorded is decided once, from its id, so that every service decides the same.
 */
import { randomFillSync } from 'node:crypto';
import { systemClock } from './clock.js';
import type { Clock, TimerHandle } from './clock.js';
import type { Stoppable } from './lifecycle.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import { createSpanEncoder } from './span-encoding.js';
import type { RecordedSpan } from './span-encoding.js';
import { createSpanExporter } from './span-export.js';
import type { ExportOutcome } from './span-export.js';

export interface SpanRecorderOptions {
  service: string;
  version?: string;
  /** The base URL of a collector; without it nothing is recorded. */
  endpoint?: string | undefined;
  /** The share of traces that `shouldSample` picks; default 1. */
  sampleRatio?: number;
  /** Default 1 s. */
  flushIntervalMs?: number;
  /** Default 20,000: a few seconds at full load, some ten megabytes. */
  queueLimit?: number;
  logger?: Logger;
  metrics?: Metrics;
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
  return {
    enabled: endpoint !== undefined,
    record: queue.record,
    newSpanId: () => randomHex(8),
    newTraceId: () => randomHex(16),
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

/** About 300 kB of JSON. */
const batchSpansMax = 512;
const exportAttemptsMax = 3;
const retryDelayMs = 500;
const shutdownTimeoutMs = 3_000;

function createExportQueue(options: SpanRecorderOptions, endpoint: string): SpanQueue {
  const { flushIntervalMs = 1_000, queueLimit = 20_000, clock = systemClock, logger } = options;
  const encode = createSpanEncoder({
    'service.name': options.service,
    'service.version': options.version ?? '0.0.0',
    'service.namespace': 'ironflow',
  });
  const counts = createCounts(options.metrics);
  const aborted = new AbortController();
  const exporter = createSpanExporter(endpoint, aborted.signal);
  let spans: RecordedSpan[] = [];
  let exporting: Promise<void> | undefined;
  let timer: TimerHandle | undefined;
  let isShutDown = false;

  function record(span: RecordedSpan): void {
    if (isShutDown) return;
    if (spans.length >= queueLimit) return counts.queueFull();
    spans.push(span);
    if (spans.length >= batchSpansMax) void flush();
    else timer ??= clock.setTimeout(() => void flush(), flushIntervalMs);
  }

  /** A flush during a flush joins it: the loop below goes on until nothing is left. */
  function flush(): Promise<void> {
    timer?.cancel();
    timer = undefined;
    exporting ??= exportAll().finally(() => {
      exporting = undefined;
      // Recorded between the last look at the queue and here.
      if (spans.length > 0 && !isShutDown) timer ??= clock.setTimeout(() => void flush(), flushIntervalMs);
    });
    return exporting;
  }

  async function exportAll(): Promise<void> {
    while (spans.length > 0 && !aborted.signal.aborted) {
      const batch = spans.length <= batchSpansMax ? spans : spans.splice(0, batchSpansMax);
      if (batch === spans) spans = [];
      const outcome = await exportBatch(encode(batch));
      if (outcome === 'sent') counts.sent(batch.length);
      else counts.failed(batch.length);
      if (outcome !== 'sent') logger?.warn({ spans: batch.length, outcome }, 'spans were dropped');
    }
  }

  async function exportBatch(body: string): Promise<ExportOutcome> {
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await exporter.post(body);
      if (outcome !== 'unavailable' || attempt >= exportAttemptsMax || aborted.signal.aborted) return outcome;
      await delay(retryDelayMs * 2 ** (attempt - 1), clock, aborted.signal);
    }
  }

  async function shutdown(): Promise<void> {
    isShutDown = true;
    const deadline = clock.setTimeout(() => aborted.abort(), shutdownTimeoutMs);
    await flush();
    deadline.cancel();
    exporter.close();
    counts.failed(spans.length);
    spans = [];
  }

  return { record, flush, shutdown };
}

function delay(delayMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      timer.cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.setTimeout(end, delayMs);
    signal.addEventListener('abort', end);
  });
}

function createCounts(metrics: Metrics | undefined) {
  const dropped = metrics?.counter('spans_dropped_total', 'Spans that were not sent, by reason');
  const sent = metrics?.counter('spans_sent_total', 'Spans the collector took');
  const queueFull = dropped?.bind({ reason: 'queue_full' });
  const failed = dropped?.bind({ reason: 'export_failed' });
  return {
    queueFull: () => queueFull?.add(),
    failed: (count: number) => failed?.add(count),
    sent: (count: number) => sent?.add(count),
  };
}

/** Random bytes are fetched for 512 ids at a time: a call for each costs more than the span itself. */
const pool = Buffer.allocUnsafe(8 * 512);
let poolOffset = pool.length;

function randomHex(bytes: number): string {
  if (poolOffset + bytes > pool.length) {
    randomFillSync(pool);
    poolOffset = 0;
  }
  const text = pool.toString('hex', poolOffset, poolOffset + bytes);
  poolOffset += bytes;
  // All zeros is the one id that is not valid.
  return /^0+$/.test(text) ? randomHex(bytes) : text;
}

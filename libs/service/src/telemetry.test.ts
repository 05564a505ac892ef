import { createServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import type { Clock } from './clock.js';
import { createLogger } from './logger.js';
import { createMetrics } from './metrics.js';
import { platformVersion } from './platform-version.js';
import type { RecordedSpan } from './span-encoding.js';
import { createSpanRecorder } from './telemetry.js';
import type { SpanRecorderOptions } from './telemetry.js';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: { key: string; value: unknown }[];
  links?: { traceId: string; spanId: string }[];
  status: { code: number; message?: string };
}
interface OtlpRequest {
  resourceSpans: {
    resource: { attributes: { key: string; value: { stringValue: string } }[] };
    scopeSpans: { spans: OtlpSpan[] }[];
  }[];
}

interface CollectorOptions {
  /** The first requests get these; -1 gets no answer at all. */
  firstStatuses?: number[];
  onRequest?: () => void;
  answerDelayMs?: number;
}

/** A collector that takes OTLP/JSON over HTTP; a refusal asks to be repeated at once. */
async function startCollector({ firstStatuses = [], onRequest, answerDelayMs = 0 }: CollectorOptions = {}) {
  const requests: OtlpRequest[] = [];
  const seen: { path: string; headers: IncomingHttpHeaders }[] = [];
  let open = 0;
  let openMax = 0;
  const server = createServer((request, response) => {
    openMax = Math.max(openMax, (open += 1));
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      seen.push({ path: request.url ?? '', headers: request.headers });
      onRequest?.();
      const status = firstStatuses.shift() ?? 200;
      if (status === -1) return;
      if (status === 200) requests.push(JSON.parse(Buffer.concat(chunks).toString()) as OtlpRequest);
      // Not at once, so that a second request would be seen beside this one.
      setTimeout(() => {
        open -= 1;
        response.writeHead(status, { 'content-type': 'application/json', 'retry-after': '0' }).end('{}');
      }, answerDelayMs);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const spans = () =>
    requests.flatMap((one) => one.resourceSpans.flatMap((r) => r.scopeSpans.flatMap((s) => s.spans)));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { endpoint, requests, seen, spans, openMax: () => openMax };
}

/** The exporter reads its variables when it is created. */
function setVariable(name: string, value: string): void {
  const before = process.env[name];
  process.env[name] = value;
  cleanups.push(async () => (before === undefined ? delete process.env[name] : (process.env[name] = before)));
}

function createRecorder(options: Partial<SpanRecorderOptions>) {
  const metrics = createMetrics({ service: 'executor' });
  const recorder = createSpanRecorder({ service: 'executor', metrics, ...options });
  cleanups.push(
    () => metrics.stop(),
    () => recorder.shutdown(),
  );
  return { recorder, metrics };
}

function withResolvers() {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve };
}

function spanOf(changes: Partial<RecordedSpan> = {}): RecordedSpan {
  return {
    name: 'step',
    traceId: 'a'.repeat(32),
    spanId: 'b'.repeat(16),
    kind: 'internal',
    startTimeMs: 1_700_000_000_000,
    endTimeMs: 1_700_000_000_005,
    ...changes,
  };
}

test('spans reach a collector with their ids, parents, links, times, attributes and errors', async () => {
  const collector = await startCollector();
  const { recorder } = createRecorder({ endpoint: `${collector.endpoint}/` });
  const [traceId, root, child] = [recorder.newTraceId(), recorder.newSpanId(), recorder.newSpanId()];
  const link = { traceId: recorder.newTraceId(), spanId: recorder.newSpanId() };
  recorder.record(spanOf({ name: 'workflow.run', traceId, spanId: root, kind: 'server' }));
  recorder.record(
    spanOf({
      name: 'step "charge" 💳',
      traceId,
      spanId: child,
      parentSpanId: root,
      kind: 'consumer',
      startTimeMs: 1_700_000_000_001.25,
      endTimeMs: 1_700_000_000_003.9999999,
      attributes: { 'ironflow.project': 'a\\b\n"c"', attempt: 2, ratio: 0.5, retried: true },
      links: [link],
      error: 'step_failed',
    }),
  );
  await recorder.forceFlush();
  expect(collector.seen.map(({ path }) => path)).toEqual(['/v1/traces']);
  const [parent, step] = collector.spans();
  expect(parent).toMatchObject({ traceId, spanId: root, name: 'workflow.run', kind: 2, status: { code: 0 } });
  expect(parent).not.toHaveProperty('parentSpanId');
  expect(step).toMatchObject({
    traceId,
    spanId: child,
    parentSpanId: root,
    name: 'step "charge" 💳',
    kind: 5,
    startTimeUnixNano: '1700000000001250000',
    links: [link],
    status: { code: 2, message: 'step_failed' },
  });
  expect(BigInt(step!.endTimeUnixNano)).toBeGreaterThan(1_700_000_000_003_990_000n);
  expect(step!.endTimeUnixNano).toHaveLength(19);
  expect(step!.attributes).toEqual([
    { key: 'ironflow.project', value: { stringValue: 'a\\b\n"c"' } },
    { key: 'attempt', value: { intValue: 2 } },
    { key: 'ratio', value: { doubleValue: 0.5 } },
    { key: 'retried', value: { boolValue: true } },
    { key: 'error.type', value: { stringValue: 'step_failed' } },
  ]);
  expect(collector.requests[0]!.resourceSpans[0]!.resource.attributes).toEqual([
    { key: 'service.name', value: { stringValue: 'executor' } },
    { key: 'service.version', value: { stringValue: platformVersion } },
    { key: 'service.namespace', value: { stringValue: 'ironflow' } },
  ]);
});

test('the variable for headers is honoured, such as the key of a collector', async () => {
  setVariable('OTEL_EXPORTER_OTLP_HEADERS', 'x-api-key=one%20two,x-tenant=three');
  const collector = await startCollector();
  const { recorder } = createRecorder({ endpoint: `${collector.endpoint}/otlp` });
  recorder.record(spanOf());
  await recorder.forceFlush();
  expect(collector.seen[0]!.path).toBe('/otlp/v1/traces');
  expect(collector.seen[0]!.headers).toMatchObject({ 'x-api-key': 'one two', 'x-tenant': 'three' });
});

test('a full queue is flushed in batches and none is lost', async () => {
  const collector = await startCollector();
  const { recorder, metrics } = createRecorder({ endpoint: collector.endpoint });
  for (let index = 0; index < 20_000; index += 1) recorder.record(spanOf({ attributes: { index } }));
  await recorder.forceFlush();
  const indexes = collector
    .spans()
    .map((span) => (span.attributes![0]!.value as { intValue: number }).intValue)
    .sort((one, other) => one - other);
  expect(indexes).toEqual(Array.from({ length: 20_000 }, (_, index) => index));
  expect(collector.requests).toHaveLength(40);
  expect(await metrics.render()).toMatch(/ironflow_spans_sent_total\{[^}]*\} 20000\n/);
});

test('a flush waits for the batch that is already under way', async () => {
  const collector = await startCollector({ answerDelayMs: 20 });
  const { recorder, metrics } = createRecorder({ endpoint: collector.endpoint });
  for (let index = 0; index < 512; index += 1) recorder.record(spanOf());
  await recorder.forceFlush();
  expect(await metrics.render()).toMatch(/ironflow_spans_sent_total\{[^}]*\} 512\n/);
});

test('spans are sent after the interval without anybody flushing', async () => {
  const { promise, resolve } = withResolvers();
  const collector = await startCollector({ onRequest: resolve });
  const { recorder } = createRecorder({ endpoint: collector.endpoint, flushIntervalMs: 5 });
  recorder.record(spanOf());
  await promise;
  expect(collector.spans()).toHaveLength(1);
});

test('a full queue drops and counts, and never waits', async () => {
  const collector = await startCollector();
  const { recorder, metrics } = createRecorder({ endpoint: collector.endpoint, queueLimit: 100 });
  // A hundred are under way at once, a hundred wait.
  for (let index = 0; index < 250; index += 1) recorder.record(spanOf());
  expect(await metrics.render()).toMatch(/spans_dropped_total\{reason="queue_full"[^}]*\} 50\n/);
  await recorder.forceFlush();
  expect(collector.spans()).toHaveLength(200);
});

test('a collector that is busy is asked again; one that refuses is not', async () => {
  const busy = await startCollector({ firstStatuses: [503, 429] });
  const patient = createRecorder({ endpoint: busy.endpoint });
  patient.recorder.record(spanOf());
  await patient.recorder.forceFlush();
  expect(busy.spans()).toHaveLength(1);
  expect(busy.seen).toHaveLength(3);

  const refusing = await startCollector({ firstStatuses: [400] });
  const refused = createRecorder({ endpoint: refusing.endpoint });
  refused.recorder.record(spanOf());
  await refused.recorder.forceFlush();
  expect(refusing.seen).toHaveLength(1);
  expect(await refused.metrics.render()).toMatch(/spans_dropped_total\{reason="export_failed"[^}]*\} 1\n/);
});

test('a collector that refuses for a while is logged once and gets one request at a time', async () => {
  const lines: string[] = [];
  const logger = createLogger({
    service: 'executor',
    destination: { write: (line) => void lines.push(line) },
  });
  const { promise, resolve } = withResolvers();
  let left = 6;
  const collector = await startCollector({
    firstStatuses: [400, 400, 400, 400, 400],
    answerDelayMs: 20,
    onRequest: () => {
      recorder.record(spanOf());
      if ((left -= 1) === 0) resolve();
    },
  });
  const { recorder } = createRecorder({ endpoint: collector.endpoint, logger });
  for (let index = 0; index < 6 * 512; index += 1) recorder.record(spanOf());
  await promise;
  expect(collector.openMax()).toBe(1);
  await recorder.forceFlush();
  const told = lines.map((line) => JSON.parse(line) as { msg: string; reason: number; spans: number });
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject({ msg: 'spans were dropped', reason: 400, spans: 512 });
});

test('shutdown sends what is left, once, and ignores later spans', async () => {
  const collector = await startCollector();
  const { recorder } = createRecorder({ endpoint: collector.endpoint });
  recorder.record(spanOf());
  await Promise.all([recorder.shutdown(), recorder.shutdown()]);
  recorder.record(spanOf());
  await recorder.forceFlush();
  expect(collector.spans()).toHaveLength(1);
});

test('shutdown ends when the collector is gone or does not answer, and counts the loss once', async () => {
  const lost = /spans_dropped_total\{reason="export_failed"[^}]*\} 1\n/;
  setVariable('OTEL_EXPORTER_OTLP_TIMEOUT', '200');
  const gone = createRecorder({ endpoint: 'http://127.0.0.1:9' });
  gone.recorder.record(spanOf());
  await gone.recorder.shutdown();
  expect(await gone.metrics.render()).toMatch(lost);

  const { promise, resolve } = withResolvers();
  const silent = await startCollector({ firstStatuses: [-1], onRequest: resolve });
  const clock: Clock = {
    now: () => 0,
    setTimeout: (callback) => (void promise.then(callback), { cancel: () => {} }),
  };
  const { recorder, metrics } = createRecorder({ endpoint: silent.endpoint, clock });
  recorder.record(spanOf());
  await recorder.shutdown();
  expect(await metrics.render()).toMatch(lost);
  await recorder.forceFlush();
  expect(await metrics.render()).toMatch(lost);
});

test('without an endpoint nothing is recorded', async () => {
  const { recorder } = createRecorder({});
  expect(recorder.enabled).toBe(false);
  recorder.record(spanOf());
  await recorder.forceFlush();
  await recorder.shutdown();
});

test('the sampling of a trace is the same everywhere and near its ratio', () => {
  const { recorder } = createRecorder({ sampleRatio: 0.25 });
  const { recorder: other } = createRecorder({ sampleRatio: 0.25 });
  const traceIds = Array.from({ length: 4_000 }, () => recorder.newTraceId());
  const sampled = traceIds.filter((traceId) => recorder.shouldSample(traceId));
  expect(sampled).toEqual(traceIds.filter((traceId) => other.shouldSample(traceId)));
  expect(sampled.length).toBeGreaterThan(800);
  expect(sampled.length).toBeLessThan(1_200);
  expect(createRecorder({}).recorder.shouldSample('f'.repeat(32))).toBe(true);
  expect(createRecorder({ sampleRatio: 0 }).recorder.shouldSample('0'.repeat(32))).toBe(false);
});

test('ids have the right form and do not repeat', () => {
  const { recorder } = createRecorder({});
  const ids = Array.from({ length: 5_000 }, () => [recorder.newSpanId(), recorder.newTraceId()]).flat();
  expect(ids.every((id) => /^([0-9a-f]{16}|[0-9a-f]{32})$/.test(id))).toBe(true);
  expect(new Set(ids).size).toBe(10_000);
});

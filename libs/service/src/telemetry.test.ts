import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { createMetrics } from './metrics.js';
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
  status?: { code: number; message: string };
}
interface OtlpRequest {
  resourceSpans: {
    resource: { attributes: { key: string; value: { stringValue: string } }[] };
    scopeSpans: { spans: OtlpSpan[] }[];
  }[];
}

/** A collector that takes OTLP/JSON over HTTP, after answering the first requests with the statuses given. */
async function startCollector(firstStatuses: number[] = []) {
  const requests: OtlpRequest[] = [];
  const paths: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      paths.push(request.url ?? '');
      const status = firstStatuses.shift() ?? 200;
      if (status === 200) requests.push(JSON.parse(Buffer.concat(chunks).toString()) as OtlpRequest);
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const spans = () =>
    requests.flatMap((one) => one.resourceSpans.flatMap((r) => r.scopeSpans.flatMap((s) => s.spans)));
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, paths, spans };
}

function createRecorder(options: Partial<SpanRecorderOptions>) {
  const metrics = createMetrics({ service: 'executor' });
  const recorder = createSpanRecorder({ service: 'executor', version: '1.2.3', metrics, ...options });
  cleanups.push(
    () => metrics.stop(),
    () => recorder.shutdown(),
  );
  return { recorder, metrics };
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
      attributes: { 'ironflow.project': 'a\\b\n"c"', attempt: 2, ratio: 0.5, retried: true, odd: Number.NaN },
      links: [link],
      error: 'step_failed',
    }),
  );
  await recorder.forceFlush();
  expect(collector.paths).toEqual(['/v1/traces']);
  const [parent, step] = collector.spans();
  expect(parent).toMatchObject({ traceId, spanId: root, name: 'workflow.run', kind: 2 });
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
    { key: 'attempt', value: { intValue: '2' } },
    { key: 'ratio', value: { doubleValue: 0.5 } },
    { key: 'retried', value: { boolValue: true } },
    { key: 'odd', value: { doubleValue: 'NaN' } },
  ]);
  expect(collector.requests[0]!.resourceSpans[0]!.resource.attributes).toEqual([
    { key: 'service.name', value: { stringValue: 'executor' } },
    { key: 'service.version', value: { stringValue: '1.2.3' } },
    { key: 'service.namespace', value: { stringValue: 'ironflow' } },
  ]);
});

test('many spans go in batches, none lost and in order', async () => {
  const collector = await startCollector();
  const { recorder, metrics } = createRecorder({ endpoint: collector.endpoint });
  for (let index = 0; index < 3_000; index += 1) recorder.record(spanOf({ attributes: { index } }));
  await recorder.forceFlush();
  const indexes = collector
    .spans()
    .map((span) => Number((span.attributes![0]!.value as { intValue: string }).intValue));
  expect(indexes).toEqual(Array.from({ length: 3_000 }, (_, index) => index));
  expect(collector.requests.length).toBeLessThanOrEqual(7);
  expect(await metrics.render()).toMatch(/ironflow_spans_sent_total\{[^}]*\} 3000\n/);
});

test('spans are sent after the interval without anybody flushing', async () => {
  const collector = await startCollector();
  let fire = () => {};
  const clock = {
    now: () => 0,
    setTimeout: (callback: () => void) => ((fire = callback), { cancel: () => {} }),
  };
  const { recorder } = createRecorder({ endpoint: collector.endpoint, clock });
  recorder.record(spanOf());
  fire();
  await recorder.forceFlush();
  expect(collector.spans()).toHaveLength(1);
});

test('a full queue drops and counts, and never waits', async () => {
  const collector = await startCollector();
  const { recorder, metrics } = createRecorder({ endpoint: collector.endpoint, queueLimit: 100 });
  for (let index = 0; index < 150; index += 1) recorder.record(spanOf());
  expect(await metrics.render()).toMatch(/spans_dropped_total\{reason="queue_full"[^}]*\} 50\n/);
  await recorder.forceFlush();
  expect(collector.spans()).toHaveLength(100);
});

test('a collector that is busy is asked again; one that refuses is not', async () => {
  const clock = {
    now: () => 0,
    setTimeout: (callback: () => void) => (setImmediate(callback), { cancel: () => {} }),
  };
  const busy = await startCollector([503, 429]);
  const patient = createRecorder({ endpoint: busy.endpoint, clock });
  patient.recorder.record(spanOf());
  await patient.recorder.forceFlush();
  expect(busy.spans()).toHaveLength(1);
  expect(busy.paths).toHaveLength(3);

  const refusing = await startCollector([400]);
  const refused = createRecorder({ endpoint: refusing.endpoint, clock });
  refused.recorder.record(spanOf());
  await refused.recorder.forceFlush();
  expect(refusing.paths).toHaveLength(1);
  expect(await refused.metrics.render()).toMatch(/spans_dropped_total\{reason="export_failed"[^}]*\} 1\n/);
});

test('shutdown sends what is left and ends even when the collector is gone', async () => {
  const collector = await startCollector();
  const { recorder } = createRecorder({ endpoint: collector.endpoint });
  recorder.record(spanOf());
  await Promise.all([recorder.shutdown(), recorder.shutdown()]);
  recorder.record(spanOf());
  await recorder.forceFlush();
  expect(collector.spans()).toHaveLength(1);

  const gone = createRecorder({ endpoint: 'http://127.0.0.1:9' });
  gone.recorder.record(spanOf());
  await gone.recorder.shutdown();
  expect(await gone.metrics.render()).toMatch(/spans_dropped_total\{reason="export_failed"[^}]*\} 1\n/);
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

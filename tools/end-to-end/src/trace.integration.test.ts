import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { RunDetail } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { settleGenerated } from './generated-docs.mjs';
import { startOtlpReceiver } from './otlp-receiver.js';
import type { OtlpReceiver, ReceivedSpan } from './otlp-receiver.js';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';
import type { PushApp } from './push-app.js';
import { drawTrace } from './trace-drawing.js';

const secret = 'payload-that-no-span-may-have';
const document = fileURLToPath(new URL('../../../docs/operations/traces.md', import.meta.url));
const caller = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };

let receiver: OtlpReceiver;
let world: PlatformUnderTest;
let pushApp: PushApp;
/** What each call of a function was told of its trace. */
const told = new Map<string, (string | undefined)[]>();

beforeAll(async () => {
  receiver = await startOtlpReceiver();
  world = await startPlatformUnderTest({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
  await world.tenant.startWorker('traced-pull', [traced('pull')]);
  pushApp = await world.tenant.startPushApp('traced-push', [traced('push')]);
}, 60_000);
afterAll(async () => {
  await world?.stop();
  receiver?.stop();
}, 30_000);

describe.each(['pull', 'push'])('a run in %s mode', (mode) => {
  const name = `traced.${mode}`;
  let run: RunDetail;
  let spans: ReceivedSpan[];

  beforeAll(async () => {
    const { ids } = await world.tenant.client.emit(
      { name, data: { secret } },
      { traceparent: `00-${traceIdOf(mode)}-${caller.spanId}-01` },
    );
    [run] = (await world.tenant.endedRunsOf(ids[0]!)) as [RunDetail];
    expect(run.status).toBe('completed');
    spans = await eventually(
      () => {
        const found = receiver.spans.filter(({ traceId }) => traceId === traceIdOf(mode));
        // Services send about once a second, each by itself.
        expect(named(found, 'workflow.run')).toHaveLength(1);
        expect(found.filter(({ attributes }) => attributes['ironflow.outcome'] === 'completed')).toHaveLength(
          2,
        );
        expect(named(found, 'workflow.step after')).toHaveLength(1);
        expect(sleeps(found)).toHaveLength(1);
        expect(named(found, 'workflow.route')).toHaveLength(1);
        expect(named(found, 'workflow.accept')).toHaveLength(1);
        expect(named(found, 'charge the card')).toHaveLength(1);
        return found;
      },
      { timeoutMs: 10_000, intervalMs: 50 },
    );
  });

  test('is one trace, below the span of who emitted the event', () => {
    const [accept] = named(spans, 'workflow.accept');
    const [route] = named(spans, 'workflow.route');
    const [whole] = named(spans, 'workflow.run');
    expect(accept!.parentSpanId).toBe(caller.spanId);
    expect(route!.parentSpanId).toBe(accept!.spanId);
    expect(whole!.parentSpanId).toBe(route!.spanId);
    expect(run.traceId).toBe(traceIdOf(mode));
    expect([accept, route, whole].map((span) => span!.service)).toEqual([
      'ingest',
      'scheduler',
      'result-collector',
    ]);
  });

  test('has the true beginning and end', () => {
    const [whole] = named(spans, 'workflow.run');
    expect(whole!.startMs).toBe(Date.parse(run.createdAt));
    expect(whole!.endMs).toBe(Date.parse(run.endedAt!));
    expect(whole!.isError).toBe(false);
    for (const span of spans.filter(({ parentSpanId }) => parentSpanId === whole!.spanId)) {
      expect(span.startMs).toBeGreaterThanOrEqual(whole!.startMs);
    }
  });

  test('has a span for each activation, and below it one for each attempt of a step', () => {
    const [whole] = named(spans, 'workflow.run');
    const activations = named(spans, 'workflow.activation').sort((a, b) => a.startMs - b.startMs);
    // Until the retry, until the sleep, and to the end.
    expect(activations.map(({ attributes }) => attributes['ironflow.outcome'])).toEqual([
      'yielded',
      'yielded',
      'completed',
    ]);
    expect(activations.map(({ parentSpanId }) => parentSpanId)).toEqual(activations.map(() => whole!.spanId));
    const attempts = spans.filter(({ name: of }) => of.startsWith('workflow.step'));
    expect(
      attempts
        .sort((a, b) => a.startMs - b.startMs)
        .map((span) => ({
          name: span.name,
          attempt: Number(span.attributes['ironflow.step.attempt']),
          isError: span.isError,
          activation: activations.findIndex(({ spanId }) => spanId === span.parentSpanId),
        })),
    ).toEqual([
      { name: 'workflow.step flaky', attempt: 1, isError: true, activation: 0 },
      { name: 'workflow.step flaky', attempt: 2, isError: false, activation: 1 },
      { name: 'workflow.step after', attempt: 1, isError: false, activation: 2 },
    ]);
  });

  test('has a span for its sleep, from its beginning to when it was due', () => {
    const [whole] = named(spans, 'workflow.run');
    const [sleep] = sleeps(spans);
    const step = run.steps.find(({ type }) => type === 'sleep')!;
    expect(sleep).toMatchObject({
      name: `workflow.sleep ${step.name}`,
      parentSpanId: whole!.spanId,
      service: 'scheduler',
      startMs: Date.parse(step.startedAt),
      isError: false,
    });
    expect(sleep!.endMs).toBeGreaterThan(sleep!.startMs);
    expect(sleep!.endMs).toBeLessThanOrEqual(Date.parse(step.endedAt!));
  });

  test('tells its function the activation, for spans of its own', () => {
    const ids = named(spans, 'workflow.activation').map(({ spanId }) => spanId);
    const parents = told.get(mode)!.map((traceparent) => traceparent!.split('-'));
    expect(parents.every(([, traceId]) => traceId === traceIdOf(mode))).toBe(true);
    expect(new Set(parents.map(([, , spanId]) => spanId))).toEqual(new Set(ids));
  });

  test('tells how long each activation waited, and which span published the first', () => {
    const [route] = named(spans, 'workflow.route');
    const activations = named(spans, 'workflow.activation').sort((a, b) => a.startMs - b.startMs);
    expect(activations.map(({ links }) => links)).toEqual([[route!.spanId], [], []]);
    for (const { attributes } of [route!, ...activations]) {
      expect(Number(attributes['ironflow.queue_ms'])).toBeGreaterThanOrEqual(0);
      expect(Number(attributes['ironflow.queue_ms'])).toBeLessThan(10_000);
      expect(attributes).toMatchObject({ 'messaging.system': 'nats', 'messaging.operation.type': 'process' });
    }
    expect(spans.filter(({ isError }) => isError).map(({ attributes }) => attributes['error.type'])).toEqual([
      'Error',
    ]);
  });

  test('is drawn in the documentation, which names every attribute that its spans have', () => {
    expect(
      settleGenerated(document, 'trace', `\`\`\`text\n${drawTrace(spans, caller.spanId)}\n\`\`\``),
    ).toBeUndefined();
    const documented = readFileSync(document, 'utf8');
    const names = new Set(spans.flatMap(({ attributes }) => Object.keys(attributes)));
    expect([...names].filter((attribute) => !documented.includes(`\`${attribute}\``))).toEqual([]);
  });

  test('has no payload in any span', () => {
    expect(receiver.bodies.join('')).not.toContain(secret);
  });
});

test('a push endpoint gets the trace in the traceparent header of each call', () => {
  expect(pushApp.calls.length).toBeGreaterThanOrEqual(3);
  expect(pushApp.calls.map(({ headers }) => headers['traceparent'])).toEqual(told.get('push'));
});

const sleeps = (spans: ReceivedSpan[]): ReceivedSpan[] =>
  spans.filter(({ name }) => name.startsWith('workflow.sleep'));

function traced(mode: string) {
  let failures = 0;
  return createFunction(
    {
      id: `traced-${mode}`,
      triggers: [{ event: `traced.${mode}` }],
      retries: { attempts: 3, initialDelayMs: 20 },
    },
    async ({ event, step, run }) => {
      told.set(mode, [...(told.get(mode) ?? []), run.traceparent]);
      await step.run('flaky', () => {
        failures += 1;
        if (failures === 1) throw new Error(`this also holds ${secret}`);
        return event.data;
      });
      await step.sleep('nap', '50ms');
      return step.run('after', async () => {
        const recordedMs = await recordOwnSpan(run.traceparent!);
        // The step ends later, so that the order in which the two are drawn is one.
        await eventually(() => expect(Date.now()).toBeGreaterThan(recordedMs), { intervalMs: 1 });
        return event.data;
      });
    },
  );
}

/** As a function's own OpenTelemetry would; gives the time of the span. */
async function recordOwnSpan(traceparent: string): Promise<number> {
  const [, traceId, parentSpanId] = traceparent.split('-');
  const nowMs = Date.now();
  const now = `${nowMs}000000`;
  const times = { startTimeUnixNano: now, endTimeUnixNano: now };
  const ids = { traceId, parentSpanId, spanId: randomBytes(8).toString('hex') };
  const span = { ...ids, ...times, name: 'charge the card', attributes: [], status: { code: 0 } };
  const attributes = [{ key: 'service.name', value: { stringValue: 'your app' } }];
  await fetch(receiver.url, {
    method: 'POST',
    body: JSON.stringify({ resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans: [span] }] }] }),
  });
  return nowMs;
}

/** One trace for each mode: the last digit tells them apart. */
function traceIdOf(mode: string): string {
  return `${caller.traceId.slice(0, -1)}${mode === 'pull' ? '1' : '2'}`;
}

function named(spans: ReceivedSpan[], name: string): ReceivedSpan[] {
  return spans.filter((span) => span.name === name);
}

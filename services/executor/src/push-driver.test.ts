import { afterAll, afterEach, expect, test } from '@jest/globals';
import { verifySignature } from '@ironflow/schema';
import type { JournalEntry, RegisteredApp } from '@ironflow/schema';
import { createMetrics, createSpanRecorder } from '@ironflow/service';
import { createExecutorMetrics } from './executor-metrics.js';
import { parseAddressRange } from './outbound-rules.js';
import { createPushCaller } from './push-call.js';
import { createPushDriver } from './push-driver.js';
import { createSettlement } from './settlement.js';
import { listen } from './testing/endpoint.js';
import type { Endpoint } from './testing/endpoint.js';
import { createFakeRun } from './testing/fake-run.js';
import { completed } from './testing/raw-worker.js';

const caller = createPushCaller({ allowed: [parseAddressRange('127.0.0.0/8')!] });
const endpoints: Endpoint[] = [];
afterEach(async () => {
  for (const endpoint of endpoints.splice(0)) await endpoint.close();
});
afterAll(() => caller.close());

test('a run goes on with the signing keys it began with, whatever becomes of Postgres', async () => {
  let calls = 0;
  const endpoint = await listen((_request, response) => {
    calls += 1;
    const records = calls < 4 ? [completed(`s${calls}`)] : [];
    const outcome = { kind: calls < 4 ? 'continue' : 'completed' };
    const lines = calls === 2 ? [{ sequence: 0, atMs: 1, level: 'info', message: 'm' }] : undefined;
    response.end(JSON.stringify({ v: 1, records, outcome, lines }));
  });
  endpoints.push(endpoint);
  const logged: [number, number][] = [];
  const signingKey = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
  let reads = 0;
  const metrics = createExecutorMetrics(createMetrics({ service: 'executor' }));
  const spans = createSpanRecorder({ service: 'executor' });
  const app = { id: 'app', mode: 'push', url: endpoint.url } as RegisteredApp;
  const registry = { version: 1, apps: new Map([['app', app]]), functions: new Map() };
  const drive = createPushDriver({
    registry: { atLeast: async () => registry } as never,
    tenants: {
      signingKeys: async () => {
        reads += 1;
        if (reads > 1) throw new Error('Postgres is away');
        return [signingKey];
      },
    },
    caller,
    admission: (_run, _endpoint, call) => call(undefined),
    settlement: createSettlement({ spans, metrics, now: () => 1, random: () => 0 }),
    logs: { add: (_run, call, lines) => logged.push([call, lines.length]) },
    metrics,
    deadlineMs: 10_000,
  });
  const entries: JournalEntry[] = [];
  const run = createFakeRun({
    journal: {
      append: async (more) => {
        entries.push(...more);
        return 'appended';
      },
      pin: () => undefined,
      hasAppended: () => entries.length > 0,
    },
  });
  expect(await drive(run)).toBe('over');
  expect(entries.map((entry) => (entry.type === 'step' ? entry.step.id : entry.run.kind))).toEqual([
    's1',
    's2',
    's3',
    'completed',
  ]);
  expect(endpoint.calls).toHaveLength(4);
  expect(logged.filter(([, lines]) => lines > 0)).toEqual([[2, 1]]);
  for (const { headers, body } of endpoint.calls) {
    const [id, timestamp] = [String(headers['webhook-id']), String(headers['webhook-timestamp'])];
    const signature = String(headers['webhook-signature']);
    expect(verifySignature({ id, timestamp, body }, signature, [signingKey], Date.now()).valid).toBe(true);
  }
});

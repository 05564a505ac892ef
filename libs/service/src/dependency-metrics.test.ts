import { afterEach, expect, test } from '@jest/globals';
import { watchPool, watchReadiness } from './dependency-metrics.js';
import { createHealth } from './health.js';
import { createMetrics } from './metrics.js';
import type { Metrics } from './metrics.js';

let metrics: Metrics;
afterEach(() => metrics.stop());

async function samples(): Promise<string[]> {
  const text = await metrics.render();
  return text.split('\n').filter((line) => /^ironflow_(database|ready|reachable)/.test(line));
}

test('connections to Postgres are told by what they do, and what waits for one', async () => {
  metrics = createMetrics({ service: 'api' });
  watchPool(metrics, { poolState: () => ({ open: 10, idle: 3, waiting: 2 }) });
  expect(await samples()).toEqual([
    'ironflow_database_connections{state="idle",service_name="api"} 3',
    'ironflow_database_connections{state="busy",service_name="api"} 7',
    'ironflow_database_waiting{service_name="api"} 2',
  ]);
});

test('what a service cannot reach is told, and that it is not ready', async () => {
  metrics = createMetrics({ service: 'api' });
  const checks = { nats: () => Promise.resolve(), postgres: () => Promise.reject(new Error('away')) };
  watchReadiness(metrics, createHealth({ checks }));
  expect(await samples()).toEqual([
    'ironflow_ready{service_name="api"} 0',
    'ironflow_reachable{check="nats",service_name="api"} 1',
    'ironflow_reachable{check="postgres",service_name="api"} 0',
  ]);
});

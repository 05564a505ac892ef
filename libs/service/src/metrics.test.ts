import { afterEach, expect, test } from '@jest/globals';
import { createMetrics, renderMetrics } from './metrics.js';
import type { Metrics } from './metrics.js';

const started: Metrics[] = [];
function create(service: string): Metrics {
  const metrics = createMetrics({ service });
  started.push(metrics);
  return metrics;
}
afterEach(async () => {
  await Promise.all(started.splice(0).map((metrics) => metrics.stop()));
});

const linesOf = (text: string, name: string) => text.split('\n').filter((line) => line.startsWith(name));

test('a counter adds up per labels, in whatever order they are named', async () => {
  const metrics = create('executor');
  const counter = metrics.counter('runs_total', 'Runs that ended', ['mode', 'outcome']);
  counter.add();
  counter.add(2, { mode: 'push', outcome: 'failed' });
  counter.add(1, { outcome: 'failed', mode: 'push' });
  const bound = counter.bind({ mode: 'push', outcome: 'failed' });
  bound.add();
  bound.add(5);
  metrics.counter('runs_total', 'Runs that ended').add(1);
  const text = await metrics.render();
  expect(text).toContain('# TYPE ironflow_runs_total counter');
  expect(linesOf(text, 'ironflow_runs_total')).toEqual([
    'ironflow_runs_total{service_name="executor"} 2',
    'ironflow_runs_total{mode="push",outcome="failed",service_name="executor"} 9',
  ]);
  expect(linesOf(await metrics.render(), 'ironflow_runs_total{mode')[0]).toMatch(/ 9$/);
});

test('a histogram counts into its buckets', async () => {
  const metrics = create('executor');
  const histogram = metrics.histogram('step_duration_seconds', 'Steps', [0.1, 1], ['mode']);
  for (const value of [0.05, 0.5, 5]) histogram.record(value, { mode: 'push' });
  const lines = linesOf(await metrics.render(), 'ironflow_step_duration_seconds_bucket');
  expect(lines.map((line) => [/le="([^"]+)"/.exec(line)![1], line.split(' ')[1]])).toEqual([
    ['0.1', '1'],
    ['1', '2'],
    ['+Inf', '3'],
  ]);
});

test('a gauge is asked at the scrape, and one that fails does not cost the others', async () => {
  const metrics = create('executor');
  let lag = 1;
  metrics.gauge('lag_seconds', 'Lag', () => lag);
  metrics.gauge('broken_seconds', 'Broken', () => Promise.reject(new Error('no connection')));
  const queued = async () => [
    { value: 3, labels: { queue: 'a' } },
    { value: 4, labels: { queue: 'b' } },
  ];
  metrics.gauge('queued', 'Queued', queued, ['queue']);
  await metrics.render();
  lag = 2;
  const text = await metrics.render();
  expect(linesOf(text, 'ironflow_lag_seconds')).toEqual(['ironflow_lag_seconds{service_name="executor"} 2']);
  expect(linesOf(text, 'ironflow_queued')).toHaveLength(2);
});

test('what a gauge told once is not told again when it cannot be read, and its absent labels are gone', async () => {
  const metrics = create('executor');
  let queue: string | undefined = 'a';
  metrics.gauge('lag_seconds', 'Lag', () => {
    if (queue === undefined) throw new Error('no connection');
    return 5;
  });
  const queued = () => (queue === undefined ? [] : [{ value: 1, labels: { queue } }]);
  metrics.gauge('queued', 'Queued', queued, ['queue']);
  const counter = metrics.counter('runs_total', 'Runs that ended');
  counter.add(3);
  const samples = async () =>
    (await metrics.render()).split('\n').filter((line) => /^ironflow_(lag|queued|runs)/.test(line));
  const counted = 'ironflow_runs_total{service_name="executor"} 3';
  expect(await samples()).toEqual([
    'ironflow_lag_seconds{service_name="executor"} 5',
    'ironflow_queued{queue="a",service_name="executor"} 1',
    counted,
  ]);
  queue = 'b';
  expect(await samples()).toContain('ironflow_queued{queue="b",service_name="executor"} 1');
  expect(await samples()).toHaveLength(3);
  queue = undefined;
  expect(await samples()).toEqual([counted]);
});

test('two scrapes at once hear the same', async () => {
  const metrics = create('executor');
  metrics.gauge('lag_seconds', 'Lag', async () => 5);
  const [first, second] = await Promise.all([metrics.render(), metrics.render()]);
  expect(linesOf(first, 'ironflow_lag_seconds')).toHaveLength(1);
  expect(second).toBe(first);
});

test('labels that turn out unbounded are counted together instead of kept', async () => {
  const metrics = create('executor');
  const counter = metrics.counter('leaks_total', 'Leaks', ['id']);
  for (let index = 0; index < 1_500; index += 1) counter.add(1, { id: String(index) });
  const lines = linesOf(await metrics.render(), 'ironflow_leaks_total{');
  expect(lines).toHaveLength(1_001);
  expect(lines.find((line) => line.includes('overflow'))).toMatch(/ 500$/);
});

test('names that break the rules are refused', () => {
  const metrics = create('executor');
  expect(() => metrics.counter('runs', 'x')).toThrow('_total');
  expect(() => metrics.histogram('ironflow_x_seconds', 'x')).toThrow('no metric name');
  expect(() => metrics.counter('runs_total', 'x').add(-1)).toThrow('only grows');
});

test('what was declared is listed, also before it has a sample', async () => {
  const metrics = create('executor');
  metrics.counter('runs_total', 'Runs that ended', ['outcome']);
  metrics.histogram('wait_seconds', 'Waits');
  const ownNames = ['ironflow_runs_total', 'ironflow_wait_seconds', 'ironflow_process_cpu_seconds_total'];
  expect(metrics.families().filter(({ name }) => ownNames.includes(name))).toEqual([
    {
      name: 'ironflow_process_cpu_seconds_total',
      type: 'counter',
      help: 'CPU time, user and system',
      labels: [],
    },
    { name: 'ironflow_runs_total', type: 'counter', help: 'Runs that ended', labels: ['outcome'] },
    { name: 'ironflow_wait_seconds', type: 'histogram', help: 'Waits', labels: [] },
  ]);
  expect(await metrics.render()).not.toContain('ironflow_runs_total');
});

test('the process tells of itself', async () => {
  const text = await create('executor').render();
  for (const name of [
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'event_loop_lag_seconds',
    'build_info',
  ]) {
    expect(linesOf(text, `ironflow_${name}`)).not.toHaveLength(0);
  }
  expect(text).not.toMatch(/ (NaN|-\d)/);
});

test('services of one process do not see one another, and one scrape holds them under one head', async () => {
  const [first, second] = [create('ingest'), create('executor')];
  first.counter('events_total', 'Events').add(3);
  second.counter('events_total', 'Events').add(4);
  expect(await first.render()).not.toContain('executor');
  const text = await renderMetrics([first, second]);
  expect(linesOf(text, '# TYPE ironflow_events_total')).toHaveLength(1);
  expect(linesOf(text, '# HELP ironflow_process_cpu_seconds_total')).toHaveLength(1);
  expect(linesOf(text, 'ironflow_events_total')).toEqual([
    'ironflow_events_total{service_name="ingest"} 3',
    'ironflow_events_total{service_name="executor"} 4',
  ]);
});

/**
 * Metrics of one service in Prometheus' text format, on the OpenTelemetry SDK with a MeterProvider of its own, so that
 * several services can live in one process. Labels are few and bounded: no run ids, no event names.
 */
import type { ObservableResult } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import type { Stoppable } from './lifecycle.js';
import { platformVersion } from './platform-version.js';
import { addProcessMetrics } from './process-metrics.js';

export type Labels = Readonly<Record<string, string>>;

export interface Counter {
  add(value?: number, labels?: Labels): void;
  /** For hot paths: the series of these labels, looked up once. */
  bind(labels: Labels): { add(value?: number): void };
}

export interface Histogram {
  record(value: number, labels?: Labels): void;
}

export interface Observation {
  value: number;
  labels?: Labels;
}

export interface Metrics extends Stoppable {
  /** Names come without `ironflow_`; a counter's ends in `_total`. The same name gives the same counter. */
  counter(name: string, help: string): Counter;
  /** The name ends in its unit. The same name gives the same histogram. */
  histogram(name: string, help: string, buckets?: readonly number[]): Histogram;
  /** Asked at each scrape; a gauge whose `observe` fails is left out of it. */
  gauge(name: string, help: string, observe: Observe): void;
  render(): Promise<string>;
}

export type Observe = () => number | Observation[] | Promise<number | Observation[]>;

export interface MetricsOptions {
  service: string;
}

/** From a fast insert to a slow tenant's endpoint. */
export const durationBucketsSeconds = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const;

export function createMetrics({ service }: MetricsOptions): Metrics {
  const reader = new PrometheusExporter({ preventServerStart: true });
  const resource = resourceFromAttributes({ 'service.name': service });
  const provider = new MeterProvider({ resource, readers: [reader] });
  const meter = provider.getMeter('ironflow');
  const serializer = new PrometheusSerializer(undefined, false, /^service\.name$/, true, true);
  const counters = new Map<string, Counter>();
  const histograms = new Map<string, Histogram>();
  const gauges = new Set<string>();

  function createCounterOnce(name: string, help: string): Counter {
    const existing = counters.get(name);
    if (existing !== undefined) return existing;
    if (!name.endsWith('_total')) throw new Error(`the counter ${name} has to end in _total`);
    const series = createSeries();
    meter
      .createObservableCounter(fullName(name), { description: help })
      .addCallback((result) => series.observe(result));
    counters.set(name, series.counter);
    return series.counter;
  }

  function createHistogramOnce(name: string, help: string, buckets?: readonly number[]): Histogram {
    const existing = histograms.get(name);
    if (existing !== undefined) return existing;
    const histogram = meter.createHistogram(fullName(name), {
      description: help,
      advice: { explicitBucketBoundaries: [...(buckets ?? durationBucketsSeconds)] },
    });
    histograms.set(name, histogram);
    return histogram;
  }

  function createGauge(name: string, help: string, observe: Observe): void {
    if (gauges.has(name)) throw new Error(`there is already a gauge ${name}`);
    gauges.add(name);
    meter.createObservableGauge(fullName(name), { description: help }).addCallback(async (result) => {
      const observed = await observe();
      if (typeof observed === 'number') return result.observe(observed);
      for (const { value, labels } of observed) result.observe(value, labels);
    });
  }

  const metrics: Metrics = {
    counter: createCounterOnce,
    histogram: createHistogramOnce,
    gauge: createGauge,
    async render() {
      const { resourceMetrics } = await reader.collect({ timeoutMillis: collectTimeoutMs });
      return serializer.serialize(resourceMetrics);
    },
    async stop() {
      processMetrics.stop();
      await provider.shutdown();
    },
  };
  metrics.gauge('build_info', 'Always 1; the label says which version runs', () => [
    { value: 1, labels: { version: platformVersion } },
  ]);
  const processMetrics = addProcessMetrics(metrics, meter);
  return metrics;
}

/** Prometheus gives up after ten seconds by default; one slow gauge shall not cost the scrape. */
const collectTimeoutMs = 2_000;

export function fullName(name: string): string {
  if (!/^[a-z][a-z0-9_]*$/.test(name) || name.startsWith('ironflow_')) {
    throw new Error(`${name} is no metric name: lower case, without the prefix ironflow_`);
  }
  return `ironflow_${name}`;
}

interface Cell {
  value: number;
  labels: Labels;
}

/** Beyond it a label was not bounded after all: the rest is counted together rather than kept in memory. */
const seriesPerCounterMax = 1_000;
const overflowLabels: Labels = { overflow: 'true' };

/**
 * The sums are kept here and shown to the SDK at a scrape: an addition through the SDK's own counters costs more than half
 * a microsecond with labels, most of it to hash them.
 */
function createSeries() {
  const cells = new Map<string, Cell>();

  function cellOf(labels: Labels): Cell {
    const key = keyOf(labels);
    const cell = cells.get(key);
    if (cell !== undefined) return cell;
    if (cells.size >= seriesPerCounterMax && labels !== overflowLabels) return cellOf(overflowLabels);
    const created: Cell = { value: 0, labels: { ...labels } };
    cells.set(key, created);
    return created;
  }

  const counter: Counter = {
    add(value = 1, labels = noLabels) {
      cellOf(labels).value += checked(value);
    },
    bind(labels) {
      const cell = cellOf(labels);
      return { add: (value = 1) => void (cell.value += checked(value)) };
    },
  };
  return {
    counter,
    observe(result: ObservableResult): void {
      for (const { value, labels } of cells.values()) result.observe(value, labels);
    },
  };
}

const noLabels: Labels = {};

function keyOf(labels: Labels): string {
  const names = Object.keys(labels);
  if (names.length > 1) names.sort();
  let key = '';
  for (const name of names) key += `${name}\u0000${labels[name]}\u0000`;
  return key;
}

function checked(value: number): number {
  if (value >= 0) return value;
  throw new Error('a counter only grows');
}

/** One scrape for several services of one process: the samples of a metric stand together under one head. */
export async function renderMetrics(all: readonly Metrics[]): Promise<string> {
  const families = new Map<string, { head: string[]; samples: string[] }>();
  for (const text of await Promise.all(all.map((metrics) => metrics.render()))) {
    let name = '';
    for (const line of text.split('\n')) {
      if (line === '') continue;
      if (line.startsWith('# ')) name = line.split(' ', 3)[2]!;
      const family = families.get(name) ?? { head: [], samples: [] };
      families.set(name, family);
      if (!line.startsWith('# ')) family.samples.push(line);
      else if (family.head.length < 2) family.head.push(line);
    }
  }
  return [...families.values()].map(({ head, samples }) => `${[...head, ...samples].join('\n')}\n`).join('');
}

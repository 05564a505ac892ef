/**
 * Metrics of one service in Prometheus' text format, on the OpenTelemetry SDK with a MeterProvider of its own, so that
 * several services can live in one process. Labels are few and bounded: no run ids, no event names.
 */
import type { ObservableResult } from '@opentelemetry/api';
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  InstrumentType,
  MeterProvider,
  MetricReader,
} from '@opentelemetry/sdk-metrics';
import type { Stoppable } from './lifecycle.js';
import { platformVersion } from './platform-version.js';
import { addProcessMetrics } from './process-metrics.js';

export type Labels = Readonly<Record<string, string>>;

/** What a metric declares is all that it takes. */
export type LabelsOf<Label extends string> = [Label] extends [never]
  ? undefined
  : Readonly<Record<Label, string>>;

export interface Counter<Label extends string = never> {
  add(value?: number, labels?: LabelsOf<Label>): void;
  /** For hot paths: the series of these labels, looked up once. */
  bind(labels: LabelsOf<Label>): { add(value?: number): void };
}

export interface Histogram<Label extends string = never> {
  record(value: number, labels?: LabelsOf<Label>): void;
}

export interface Observation<Label extends string = string> {
  value: number;
  labels?: LabelsOf<Label>;
}

/** A metric as it was declared, whether it has a sample yet or not. */
export interface MetricFamily {
  name: string;
  type: 'counter' | 'histogram' | 'gauge';
  help: string;
  /** Without `service_name`, which all have. */
  labels: readonly string[];
}

export interface Metrics extends Stoppable {
  /** Names come without `ironflow_`; a counter's ends in `_total`. The same name gives the same counter. */
  counter<Label extends string = never>(
    name: string,
    help: string,
    labels?: readonly Label[],
  ): Counter<Label>;
  /** A counter that something else keeps: asked at each scrape. */
  counterOf(name: string, help: string, read: () => number): void;
  /** The name ends in its unit. The same name gives the same histogram. */
  histogram<Label extends string = never>(
    name: string,
    help: string,
    buckets?: readonly number[],
    labels?: readonly Label[],
  ): Histogram<Label>;
  /** Asked at each scrape; a gauge whose `observe` fails is left out of it. */
  gauge<Label extends string = never>(
    name: string,
    help: string,
    observe: Observe<NoInfer<Label>>,
    labels?: readonly Label[],
  ): void;
  render(): Promise<string>;
  /** Sorted by name. */
  families(): MetricFamily[];
}

export type Observe<Label extends string = string> = () => Observed<Label> | Promise<Observed<Label>>;
type Observed<Label extends string> = number | Observation<Label>[];

export interface MetricsOptions {
  service: string;
}

/** From a fast insert to a slow tenant's endpoint. */
export const durationBucketsSeconds = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const;

export function createMetrics({ service }: MetricsOptions): Metrics {
  const reader = new ScrapeReader();
  const resource = resourceFromAttributes({ 'service.name': service });
  const provider = new MeterProvider({ resource, readers: [reader] });
  const meter = provider.getMeter('ironflow');
  const serializer = new PrometheusSerializer(undefined, false, /^service\.name$/, true, true);
  const counters = new Map<string, Counter<string>>();
  const histograms = new Map<string, Histogram<string>>();
  const families = new Map<string, MetricFamily>();

  function declare(name: string, { labels = [], ...family }: DeclaredFamily): void {
    families.set(name, { name: fullName(name), ...family, labels });
  }

  function createCounterOnce(name: string, help: string, labels?: readonly string[]): Counter<string> {
    const existing = counters.get(name);
    if (existing !== undefined) return existing;
    if (!name.endsWith('_total')) throw new Error(`the counter ${name} has to end in _total`);
    const series = createSeries();
    meter
      .createObservableCounter(fullName(name), { description: help })
      .addCallback((result) => series.observe(result));
    counters.set(name, series.counter);
    declare(name, { type: 'counter', help, labels });
    return series.counter;
  }

  function createCounterOf(name: string, help: string, read: () => number): void {
    meter
      .createObservableCounter(fullName(name), { description: help })
      .addCallback((result) => result.observe(read()));
    declare(name, { type: 'counter', help });
  }

  function createHistogramOnce(
    name: string,
    help: string,
    buckets: readonly number[] = durationBucketsSeconds,
    labels?: readonly string[],
  ): Histogram<string> {
    const existing = histograms.get(name);
    if (existing !== undefined) return existing;
    const histogram = meter.createHistogram(fullName(name), {
      description: help,
      advice: { explicitBucketBoundaries: [...buckets] },
    });
    histograms.set(name, histogram);
    declare(name, { type: 'histogram', help, labels });
    return histogram;
  }

  function createGauge(name: string, help: string, observe: Observe, labels?: readonly string[]): void {
    if (families.has(name)) throw new Error(`there is already a gauge ${name}`);
    declare(name, { type: 'gauge', help, labels });
    meter.createObservableGauge(fullName(name), { description: help }).addCallback(async (result) => {
      const observed = await observe();
      if (typeof observed === 'number') return result.observe(observed);
      for (const { value, labels } of observed) result.observe(value, labels);
    });
  }

  let rendering: Promise<string> | undefined;
  async function render(): Promise<string> {
    const { resourceMetrics } = await reader.collect({ timeoutMillis: collectTimeoutMs });
    return serializer.serialize(resourceMetrics);
  }

  const metrics: Metrics = {
    counter: createCounterOnce,
    counterOf: createCounterOf,
    histogram: createHistogramOnce,
    gauge: createGauge,
    families: () => [...families.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    // Who asks while it is found out hears the same: two at once would share what is observed between them.
    render: () => (rendering ??= render().finally(() => (rendering = undefined))),
    async stop() {
      processMetrics.stop();
      await provider.shutdown();
    },
  };
  const buildInfo = (): Observation<'version'>[] => [{ value: 1, labels: { version: platformVersion } }];
  metrics.gauge('build_info', 'Always 1; the label says which version runs', buildInfo, ['version']);
  const processMetrics = addProcessMetrics(metrics);
  return metrics;
}

type DeclaredFamily = Pick<MetricFamily, 'type' | 'help'> & { labels?: readonly string[] | undefined };

/** Prometheus gives up after ten seconds by default; one slow gauge shall not cost the scrape. */
const collectTimeoutMs = 2_000;

/** Tells of a gauge what is observed at this scrape and nothing else: by default the SDK goes on with the last value of one that cannot be read. */
class ScrapeReader extends MetricReader {
  constructor() {
    super({
      aggregationTemporalitySelector: (type) =>
        type === InstrumentType.OBSERVABLE_GAUGE
          ? AggregationTemporality.DELTA
          : AggregationTemporality.CUMULATIVE,
    });
  }

  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }

  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
}

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

  const counter: Counter<string> = {
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

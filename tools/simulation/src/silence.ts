/** Logs, metrics and spans of a simulation: nobody reads them. */
import type { ExecutorMetrics } from '@ironflow/executor/parts';
import type { Logger, Metrics, SpanRecorder } from '@ironflow/service';

const nothing = (): void => undefined;
const series = { add: nothing };
const counter = { add: nothing, bind: () => series };
const histogram = { record: nothing };

export const silentMetrics: Metrics = {
  counter: () => counter,
  counterOf: nothing,
  histogram: () => histogram,
  gauge: nothing,
  render: () => Promise.resolve(''),
  families: () => [],
  stop: () => Promise.resolve(),
};

export const silentExecutorMetrics: ExecutorMetrics = {
  ...{ activations: counter, appends: counter, steps: counter, calls: counter },
  ...{ leasesLost: counter, deferred: counter, mismatches: counter, logLines: counter },
  ...{ appendSeconds: histogram, stepSeconds: histogram, waitSeconds: histogram },
};

const methods = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

/** What production would log, for the trace. */
export function createTraceLogger(note: (line: string) => void): Logger {
  const logger = { child: () => logger } as unknown as Logger;
  for (const method of methods) {
    logger[method] = (fields: { reason?: string; err?: unknown } | string, message = '') => {
      if (typeof fields === 'string') return note(fields);
      const why = fields.err instanceof Error ? fields.err.message : fields.reason;
      note(why === undefined ? message : `${message}: ${why}`);
    };
  }
  return logger;
}

const never = new Promise<void>(nothing);

export const silentSpans: SpanRecorder = {
  enabled: false,
  record: nothing,
  newSpanId: () => '0000000000000001',
  newTraceId: () => '00000000000000000000000000000001',
  shouldSample: () => false,
  forceFlush: () => never,
  shutdown: () => never,
  stop: () => never,
};

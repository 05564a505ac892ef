/** What every process tells of itself: CPU, memory, and how late its event loop is. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Meter } from '@opentelemetry/api';
import type { Metrics } from './metrics.js';

const nanosecondsPerSecond = 1e9;
const microsecondsPerSecond = 1e6;

export function addProcessMetrics(metrics: Metrics, meter: Meter): { stop(): void } {
  const loopDelay = monitorEventLoopDelay({ resolution: 20 });
  loopDelay.enable();
  meter
    .createObservableCounter('ironflow_process_cpu_seconds_total', {
      description: 'CPU time, user and system',
    })
    .addCallback((result) => {
      const { user, system } = process.cpuUsage();
      result.observe((user + system) / microsecondsPerSecond);
    });
  metrics.gauge('process_resident_memory_bytes', 'Memory held by the process', () =>
    process.memoryUsage.rss(),
  );
  metrics.gauge(
    'process_heap_used_bytes',
    'Memory used by JavaScript objects',
    () => process.memoryUsage().heapUsed,
  );
  metrics.gauge('event_loop_lag_seconds', 'How late timers fire, since the last scrape', () => {
    const observed = [
      { value: loopDelay.percentile(50) / nanosecondsPerSecond, labels: { quantile: '0.5' } },
      { value: loopDelay.percentile(99) / nanosecondsPerSecond, labels: { quantile: '0.99' } },
      { value: Math.max(0, loopDelay.max) / nanosecondsPerSecond, labels: { quantile: '1' } },
    ];
    loopDelay.reset();
    return observed;
  });
  return { stop: () => void loopDelay.disable() };
}

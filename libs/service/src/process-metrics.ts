/** What every process tells of itself: CPU, memory, and how late its event loop is. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Metrics, Observation } from './metrics.js';

const nanosecondsPerSecond = 1e9;
const microsecondsPerSecond = 1e6;
/** What the kernel tells of a process without a limit is larger than any machine. */
const unlimitedBytesMin = 2 ** 60;

export function addProcessMetrics(metrics: Metrics): { stop(): void } {
  const loopDelay = monitorEventLoopDelay({ resolution: 20 });
  loopDelay.enable();
  metrics.counterOf('process_cpu_seconds_total', 'CPU time, user and system', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / microsecondsPerSecond;
  });
  metrics.gauge('process_resident_memory_bytes', 'Memory held by the process', () =>
    process.memoryUsage.rss(),
  );
  const limit = (): Observation<never>[] => {
    const bytes = process.constrainedMemory();
    return bytes > 0 && bytes < unlimitedBytesMin ? [{ value: bytes }] : [];
  };
  metrics.gauge(
    'process_memory_limit_bytes',
    'Memory that the process may hold; absent without a limit',
    limit,
  );
  metrics.gauge(
    'process_heap_used_bytes',
    'Memory used by JavaScript objects',
    () => process.memoryUsage().heapUsed,
  );
  const lag = (): Observation<'quantile'>[] => {
    const observed = [
      { value: loopDelay.percentile(50) / nanosecondsPerSecond, labels: { quantile: '0.5' } },
      { value: loopDelay.percentile(99) / nanosecondsPerSecond, labels: { quantile: '0.99' } },
      { value: Math.max(0, loopDelay.max) / nanosecondsPerSecond, labels: { quantile: '1' } },
    ];
    loopDelay.reset();
    return observed;
  };
  metrics.gauge('event_loop_lag_seconds', 'How late timers fire, since the last scrape', lag, ['quantile']);
  return { stop: () => void loopDelay.disable() };
}

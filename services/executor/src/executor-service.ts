/** How the executor is configured and wired. */
import { workerPath } from '@ironflow/schema';
import type { ServiceDefinition } from '@ironflow/service';
import { circuitPolicyOf, executorConfigShape } from './config.js';
import { createExecutor } from './executor.js';
import { parseAddressRange } from './outbound-rules.js';

export const executorService: ServiceDefinition<typeof executorConfigShape> = {
  name: 'executor',
  description: 'Drives runs over HTTP or workers’ sockets and writes their journals',
  databaseRole: 'service',
  configShape: executorConfigShape,
  // The workers' sockets are cut after that: their runs have ended or were handed back by then.
  drainTimeoutMs: (config) => config.IRONFLOW_DRAIN_TIMEOUT_MS,
  start: async (runtime, config) => {
    const executor = createExecutor({
      ...runtime,
      circuitPolicy: circuitPolicyOf(config),
      pushConcurrency: config.IRONFLOW_PUSH_CONCURRENCY,
      pushDeadlineMs: config.IRONFLOW_PUSH_DEADLINE_MS,
      outboundAllowed: config.IRONFLOW_OUTBOUND_ALLOW.map((range) => parseAddressRange(range)!),
      logLinesPerRunMax: config.IRONFLOW_RUN_LOG_LINES,
      drainTimeoutMs: config.IRONFLOW_DRAIN_TIMEOUT_MS,
    });
    runtime.http.onUpgrade(workerPath, executor.handleUpgrade);
    // Not after the HTTP server: it would cut the workers' sockets before their runs are handed back.
    runtime.stopping.addEventListener('abort', () => void executor.stop(), { once: true });
    await executor.start();
    return executor;
  },
};

/** How the result collector is configured and wired. */
import type { ServiceDefinition } from '@ironflow/service';
import { resultCollectorConfigShape } from './config.js';
import { createResultCollector } from './result-collector.js';

export const resultCollectorService: ServiceDefinition<typeof resultCollectorConfigShape> = {
  name: 'result-collector',
  description: 'Applies the journals of runs to PostgreSQL and tells what was accepted',
  databaseRole: 'service',
  configShape: resultCollectorConfigShape,
  start: async (runtime, config) => {
    const collector = createResultCollector({
      ...runtime,
      outstandingMax: config.IRONFLOW_RESULTS_OUTSTANDING,
      batchMax: config.IRONFLOW_RESULTS_BATCH,
      trimIntervalMs: config.IRONFLOW_RESULTS_TRIM_INTERVAL_MS,
      lingerMs: config.IRONFLOW_RESULTS_LINGER_MS,
    });
    await collector.start();
    return collector;
  },
};

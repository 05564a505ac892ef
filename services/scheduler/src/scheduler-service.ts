/** How the scheduler is configured and wired. */
import type { ServiceDefinition } from '@ironflow/service';
import { schedulerConfigShape } from './config.js';
import { createScheduler } from './scheduler.js';

export const schedulerService: ServiceDefinition<typeof schedulerConfigShape> = {
  name: 'scheduler',
  description: 'Decides what runs next: routes events, activates runs, keeps timers',
  databaseRole: 'service',
  configShape: schedulerConfigShape,
  start: async (runtime, config) => {
    const scheduler = createScheduler({ ...runtime, sweepIntervalMs: config.IRONFLOW_SWEEP_INTERVAL_MS });
    await scheduler.start();
    return scheduler;
  },
};

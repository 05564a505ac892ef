/** How the scheduler is configured and wired. */
import { measureStorage } from '@ironflow/database';
import { systemClock } from '@ironflow/service';
import type { ServiceDefinition } from '@ironflow/service';
import { schedulerConfigShape } from './config.js';
import { createScheduler } from './scheduler.js';
import { createStorageMeasure } from './storage-measure.js';

/** Pages of each table: as many as are read within a moment, and enough to be right by some percent. */
const sampledPagesMax = 2_000;

export const schedulerService: ServiceDefinition<typeof schedulerConfigShape> = {
  name: 'scheduler',
  description: 'Decides what runs next: routes events, activates runs, keeps timers',
  databaseRole: 'service',
  configShape: schedulerConfigShape,
  start: async (runtime, config) => {
    const { IRONFLOW_SWEEP_INTERVAL_MS: sweepIntervalMs, IRONFLOW_RETENTION_DAYS: retentionDays } = config;
    const scheduler = createScheduler({
      ...{ ...runtime, sweepIntervalMs },
      ...(retentionDays === undefined ? {} : { retentionDays }),
    });
    await scheduler.start();
    const { database, logger } = runtime;
    const storage = createStorageMeasure({
      measure: () => measureStorage(database, sampledPagesMax),
      withAdvisoryLock: (name, work) => database.withAdvisoryLock(name, work),
      logger,
      clock: systemClock,
    });
    storage.start();
    return {
      stop: async () => {
        await storage.stop();
        await scheduler.stop();
      },
    };
  },
};

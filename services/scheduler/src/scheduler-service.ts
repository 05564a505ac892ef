/** How the scheduler is configured and wired. */
import { measureStorage } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import { backlogPath, executorBacklogSchema } from '@ironflow/schema';
import type { ExecutorBacklog } from '@ironflow/schema';
import { systemClock } from '@ironflow/service';
import type { ServiceDefinition } from '@ironflow/service';
import { schedulerConfigShape } from './config.js';
import { createScheduler } from './scheduler.js';
import type { Scheduler } from './scheduler.js';
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
    runtime.http.app.get(backlogPath, { schema: { response: { 200: executorBacklogSchema } } }, () =>
      knownBacklog(scheduler),
    );
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

/** Whoever scales by it goes on with what there is while it is not known; by a zero there would soon be no executor left. */
async function knownBacklog(scheduler: Scheduler): Promise<ExecutorBacklog> {
  try {
    return await scheduler.executorBacklog();
  } catch (error) {
    const message = `the backlog is not known now: ${messageOf(error)}`;
    throw new IronflowError('unavailable', 'backlog_unknown', message, {
      retryAfterSeconds: 1,
      cause: error,
    });
  }
}

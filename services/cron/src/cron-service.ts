/** How the cron service is configured and wired. */
import type { ServiceDefinition } from '@ironflow/service';
import { cronConfigShape } from './config.js';
import { createCron } from './cron.js';

export const cronService: ServiceDefinition<typeof cronConfigShape> = {
  name: 'cron',
  description: 'Emits an event for every time of every schedule',
  databaseRole: 'service',
  configShape: cronConfigShape,
  start: async (runtime) => {
    const cron = createCron(runtime);
    await cron.start();
    return cron;
  },
};

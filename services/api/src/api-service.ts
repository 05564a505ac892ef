/** How the api is configured and wired. */
import { z } from 'zod';
import { createDatabase } from '@ironflow/database';
import { baseConfigShape, systemClock } from '@ironflow/service';
import type { ServiceDefinition } from '@ironflow/service';
import { createApi } from './api.js';

const configShape = {
  /** For telling services which registries changed; of requests it serves only rotations of data keys. */
  DATABASE_URL: baseConfigShape.DATABASE_URL,
  /** Live views of runs at once, in one process, and as many subscriptions of topics. */
  IRONFLOW_RUN_WATCHERS_MAX: z.coerce.number().int().min(1).max(100_000).default(1_000),
};

export const apiService: ServiceDefinition<typeof configShape> = {
  name: 'api',
  description: 'Management, queries and live views over HTTP',
  databaseRole: 'tenant',
  configShape,
  start: async (runtime, config) => {
    const platformDatabase = createDatabase({
      url: config.DATABASE_URL,
      applicationName: 'ironflow-api-registries',
      maxConnections: 1,
    });
    const api = createApi({
      ...runtime,
      platformDatabase,
      clock: systemClock,
      streamsMax: config.IRONFLOW_RUN_WATCHERS_MAX,
    });
    await api.start();
    return {
      stop: async () => {
        await api.stop();
        await platformDatabase.close();
      },
    };
  },
};

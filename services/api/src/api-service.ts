/** How the api is configured and wired. */
import { z } from 'zod';
import { createDatabase, parseOperatorKey } from '@ironflow/database';
import { baseConfigShape, systemClock } from '@ironflow/service';
import type { ServiceDefinition } from '@ironflow/service';
import { createApi } from './api.js';

const configShape = {
  /** Serves no tenant's request: it is for operators, and for telling services which registries changed. */
  DATABASE_URL: baseConfigShape.DATABASE_URL,
  /** The first key of an operator, with which tenants and further keys of operators are made. */
  IRONFLOW_OPERATOR_KEY: z
    .string()
    .refine(
      (text) => parseOperatorKey(text).ok,
      'must be an operator key: "ifo_" and 49 letters and digits, as `ironflow operator-keys generate` prints one',
    )
    .optional(),
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
      applicationName: 'ironflow-api-platform',
      maxConnections: 2,
    });
    const api = createApi({
      ...runtime,
      platformDatabase,
      operatorKey: config.IRONFLOW_OPERATOR_KEY,
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

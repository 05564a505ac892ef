/** How ingest is configured and wired. It gets no login that sees every environment. */
import { systemClock } from '@ironflow/service';
import type { ServiceDefinition } from '@ironflow/service';
import { createIngest } from './ingest.js';

export const ingestService: ServiceDefinition<Record<never, never>> = {
  name: 'ingest',
  description: 'Accepts events and hands them to the scheduler',
  databaseRole: 'tenant',
  configShape: {},
  start: async (runtime) => {
    const ingest = createIngest({ ...runtime, clock: systemClock });
    await ingest.start();
    return ingest;
  },
};

/** The scheduler's environment variables beyond those of every service. */
import { retentionDays } from '@ironflow/schema';
import { z } from 'zod';

export const schedulerConfigShape = {
  /** How often the sweeps look for what was missed, and how old it has to be for them. */
  IRONFLOW_SWEEP_INTERVAL_MS: z.coerce.number().int().min(100).max(600_000).default(5_000),
  /** For how many days events, and runs once they have ended, are kept at least; without it for ever. They go by the month. */
  IRONFLOW_RETENTION_DAYS: z.coerce.number().int().min(retentionDays.min).max(retentionDays.max).optional(),
};

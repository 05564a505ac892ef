/** The scheduler's environment variables beyond those of every service. */
import { z } from 'zod';

export const schedulerConfigShape = {
  /** How often the sweeps look for what was missed, and how old it has to be for them. */
  IRONFLOW_SWEEP_INTERVAL_MS: z.coerce.number().int().min(100).max(600_000).default(5_000),
};

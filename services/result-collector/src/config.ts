/** The collector's environment variables beyond those of every service. */
import { z } from 'zod';

export const resultCollectorConfigShape = {
  /** Journal messages in hand at once. */
  IRONFLOW_RESULTS_OUTSTANDING: z.coerce.number().int().min(1).max(20_000).default(4_000),
  /** Journal messages in one statement. */
  IRONFLOW_RESULTS_BATCH: z.coerce.number().int().min(1).max(10_000).default(1_000),
  /** How often the stream is looked at for messages that may go. */
  IRONFLOW_RESULTS_TRIM_INTERVAL_MS: z.coerce.number().int().min(100).max(3_600_000).default(10_000),
  /** How long the record of a step may wait for what follows it, before it is applied by itself. */
  IRONFLOW_RESULTS_LINGER_MS: z.coerce.number().int().min(0).max(1_000).default(50),
};

/** The executor's environment variables beyond those of every service. */
import { z } from 'zod';
import { defaultCircuitPolicy } from '@ironflow/schema';

export const executorConfigShape = {
  /** Push calls at once. */
  IRONFLOW_PUSH_CONCURRENCY: z.coerce.number().int().min(1).max(10_000).default(500),
  /** How long one push call may take; the SDK aborts at it. */
  IRONFLOW_PUSH_DEADLINE_MS: z.coerce.number().int().min(1_000).max(3_600_000).default(60_000),
  /** How long runs may go on when it stops. Its process takes some seconds longer: whoever kills it must allow for that. */
  IRONFLOW_DRAIN_TIMEOUT_MS: z.coerce.number().int().min(0).max(600_000).default(20_000),
  IRONFLOW_BREAKER_OPEN_MS: z.coerce.number().int().min(100).default(defaultCircuitPolicy.openMs),
};

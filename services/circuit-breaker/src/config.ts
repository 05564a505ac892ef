/** The circuit breaker's environment variables beyond those of every service. */
import { defaultCircuitPolicy } from '@ironflow/schema';
import type { CircuitPolicy } from '@ironflow/schema';
import { z } from 'zod';

export const circuitBreakerConfigShape = {
  /** So many failures in a row open a breaker. */
  IRONFLOW_BREAKER_CONSECUTIVE_FAILURES: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(defaultCircuitPolicy.consecutiveFailures),
  /** This share of failures opens it too, of so many calls at least, within a window of so long. */
  IRONFLOW_BREAKER_FAILURE_RATIO: z.coerce.number().gt(0).max(1).default(defaultCircuitPolicy.failureRatio),
  IRONFLOW_BREAKER_MINIMUM_CALLS: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(defaultCircuitPolicy.minimumCalls),
  IRONFLOW_BREAKER_WINDOW_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(3_600_000)
    .default(defaultCircuitPolicy.windowMs),
  /** How long nobody calls once it is open; what executors are told counts for those of an older version alone. */
  IRONFLOW_BREAKER_OPEN_MS: z.coerce.number().int().min(100).default(defaultCircuitPolicy.openMs),
  /** So many successful probes, one after the other, close it. */
  IRONFLOW_BREAKER_SUCCESSES_TO_CLOSE: z.coerce
    .number()
    .int()
    .min(1)
    .max(100)
    .default(defaultCircuitPolicy.successesToClose),
};
export type CircuitBreakerConfig = z.infer<z.ZodObject<typeof circuitBreakerConfigShape>>;

/** How long a probe may take is the executors' to know. */
export function toCircuitPolicy(config: CircuitBreakerConfig): CircuitPolicy {
  return {
    ...defaultCircuitPolicy,
    consecutiveFailures: config.IRONFLOW_BREAKER_CONSECUTIVE_FAILURES,
    failureRatio: config.IRONFLOW_BREAKER_FAILURE_RATIO,
    minimumCalls: config.IRONFLOW_BREAKER_MINIMUM_CALLS,
    windowMs: config.IRONFLOW_BREAKER_WINDOW_MS,
    openMs: config.IRONFLOW_BREAKER_OPEN_MS,
    successesToClose: config.IRONFLOW_BREAKER_SUCCESSES_TO_CLOSE,
  };
}

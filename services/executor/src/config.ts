/** The executor's environment variables beyond those of every service. */
import { z } from 'zod';
import { defaultCircuitPolicy } from '@ironflow/schema';
import type { CircuitPolicy } from '@ironflow/schema';
import { parseAddressRange } from './outbound-rules.js';

export const executorConfigShape = {
  /** Push calls at once. */
  IRONFLOW_PUSH_CONCURRENCY: z.coerce.number().int().min(1).max(10_000).default(500),
  /** Of push apps: ranges such as `10.0.0.0/8,fd00::/8` that may be called though they are not public, and without TLS. */
  IRONFLOW_OUTBOUND_ALLOW: z
    .string()
    .default('')
    .transform((text) => text.split(',').map((part) => part.trim()))
    .transform((parts) => parts.filter((part) => part !== ''))
    .refine(
      (parts) => parts.every((part) => parseAddressRange(part) !== undefined),
      'must be address ranges such as 10.0.0.0/8, separated by commas',
    ),
  /** How long one push call may take; the SDK aborts at it. */
  IRONFLOW_PUSH_DEADLINE_MS: z.coerce.number().int().min(1_000).max(3_600_000).default(60_000),
  /** What loggers write is kept of a run up to so many lines; 0: nothing is kept. */
  IRONFLOW_RUN_LOG_LINES: z.coerce.number().int().min(0).max(100_000).default(10_000),
  /** How long runs may go on when it stops. Its process takes some seconds longer: whoever kills it must allow for that. */
  IRONFLOW_DRAIN_TIMEOUT_MS: z.coerce.number().int().min(0).max(600_000).default(20_000),
  /** Of breakers that a circuit-breaker service of an older version opened; see its own. */
  IRONFLOW_BREAKER_OPEN_MS: z.coerce.number().int().min(100).default(defaultCircuitPolicy.openMs),
};
export type ExecutorConfig = z.infer<z.ZodObject<typeof executorConfigShape>>;

/** What the outcome of a probe takes to be told once its call was given up. */
const probeGraceMs = 10_000;

/** A probe is given up only when its call must be over: one that hangs has to be heard as a failure, or two were out at once. */
export function circuitPolicyOf(config: ExecutorConfig): CircuitPolicy {
  const { IRONFLOW_PUSH_DEADLINE_MS: deadlineMs, IRONFLOW_BREAKER_OPEN_MS: openMs } = config;
  const probeTimeoutMs = Math.max(defaultCircuitPolicy.probeTimeoutMs, deadlineMs + probeGraceMs);
  return { ...defaultCircuitPolicy, openMs, probeTimeoutMs };
}

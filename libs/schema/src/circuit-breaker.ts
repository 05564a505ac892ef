/** The state of one circuit breaker, as it is kept in SYS_circuit_breakers. */
import { createHash } from 'node:crypto';
import { z } from 'zod';

export const circuitStateSchema = z.object({
  environmentId: z.string(),
  functionId: z.string(),
  endpoint: z.string(),
  state: z.enum(['closed', 'open', 'half_open']),
  consecutiveFailures: z.number().int().nonnegative(),
  /** Calls and failures of the running window. */
  windowStartedAtMs: z.number(),
  calls: z.number().int().nonnegative(),
  failures: z.number().int().nonnegative(),
  openedAtMs: z.number().optional(),
  /** Since when the one probe of a half-open breaker is out, and who sent it. */
  probe: z.object({ executor: z.string(), startedAtMs: z.number() }).optional(),
  /** Successful probes since it was half-open. */
  successes: z.number().int().nonnegative(),
});
export type CircuitState = z.infer<typeof circuitStateSchema>;

export interface CircuitPolicy {
  consecutiveFailures: number;
  failureRatio: number;
  minimumCalls: number;
  windowMs: number;
  openMs: number;
  /** A probe that was not heard of again is given up after this long. */
  probeTimeoutMs: number;
  successesToClose: number;
}

export const defaultCircuitPolicy: CircuitPolicy = {
  consecutiveFailures: 5,
  failureRatio: 0.5,
  minimumCalls: 20,
  windowMs: 30_000,
  openMs: 60_000,
  probeTimeoutMs: 60_000,
  successesToClose: 1,
};

/** The key of a breaker in its bucket. An endpoint is a URL: hashed, since a key has a grammar of its own. */
export function circuitKey(of: { environmentId: string; functionId: string; endpoint: string }): string {
  const hash = createHash('sha256').update(`${of.functionId}|${of.endpoint}`).digest('hex').slice(0, 32);
  return `${of.environmentId}.${hash}`;
}

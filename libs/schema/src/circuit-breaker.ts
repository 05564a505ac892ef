/** The state of one circuit breaker, as it is kept in SYS_circuit_breakers. */
import { createHash } from 'node:crypto';
import { z } from 'zod';

/** What an operator decided: nobody calls, and no probe is made, until it is reset or its time is over. */
export const forcedOpenSchema = z.object({ sinceMs: z.number(), untilMs: z.number().optional() });
export type ForcedOpen = z.infer<typeof forcedOpenSchema>;

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
  /** How long from then nobody calls; by the policy of the calls that opened it. */
  openMs: z.number().optional(),
  forced: forcedOpenSchema.optional(),
  /** Since when the one probe of a half-open breaker is out, who sent it, and when that one last said that it still is. */
  probe: z
    .object({ executor: z.string(), startedAtMs: z.number(), seenAtMs: z.number().optional() })
    .optional(),
  /** Successful probes since it was half-open. */
  successes: z.number().int().nonnegative(),
});
export type CircuitState = z.infer<typeof circuitStateSchema>;

/** What a function may say of its breakers; the rest is as the platform has it. */
export const circuitOverridesSchema = z.strictObject({
  /** Without one, calls are not counted, and only an operator keeps them from the function. */
  enabled: z.boolean().optional(),
  consecutiveFailures: z.number().int().min(1).max(10_000).optional(),
  failureRatio: z.number().gt(0).max(1).optional(),
  minimumCalls: z.number().int().min(1).max(1_000_000).optional(),
  windowMs: z.number().int().min(1_000).max(3_600_000).optional(),
  openMs: z.number().int().min(100).max(86_400_000).optional(),
  successesToClose: z.number().int().min(1).max(100).optional(),
});
export type CircuitOverrides = z.infer<typeof circuitOverridesSchema>;

export interface CircuitPolicy {
  /** True without it. */
  enabled?: boolean | undefined;
  consecutiveFailures: number;
  failureRatio: number;
  minimumCalls: number;
  windowMs: number;
  openMs: number;
  /** A probe that is not heard of for this long is given up. */
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

/** The name that every worker has for the breaker: they are as alike as the replicas behind one URL. */
export const workerEndpoint = 'worker';

/** The key of a breaker in its bucket. An endpoint is a URL: hashed, since a key has a grammar of its own. */
export function circuitKey(of: { environmentId: string; functionId: string; endpoint: string }): string {
  return `${of.environmentId}.${circuitId(of)}`;
}

/** Of a breaker within its environment. */
export function circuitId(of: { functionId: string; endpoint: string }): string {
  return createHash('sha256').update(`${of.functionId}|${of.endpoint}`).digest('hex').slice(0, 32);
}

/** The key filter of one environment's breakers. */
export function circuitKeysOf(environmentId: string): string {
  return `${environmentId}.*`;
}

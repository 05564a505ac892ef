/** Asks the circuit breakers before a call: a live view of their bucket, and the claim of the one probe. */
import { admit, circuitKey, circuitStateSchema } from '@ironflow/schema';
import type { CircuitPolicy, CircuitState } from '@ironflow/schema';
import type { Bucket } from '@ironflow/jetstream';
import { messageOf } from '@ironflow/errors';
import type { Logger } from '@ironflow/service';

export interface CircuitGate {
  admit(of: { environmentId: string; functionId: string; endpoint: string }): Promise<Admission>;
  start(): Promise<void>;
  stop(): void;
}

export type Admission = { kind: 'call'; probe: boolean } | { kind: 'wait'; inMs: number };

export interface CircuitGateOptions {
  bucket: Bucket;
  executor: string;
  policy: CircuitPolicy;
  logger: Logger;
  now: () => number;
}

/** How long a run waits that lost the race for the probe. */
const lostProbeDelayMs = 1_000;
const claimsMax = 3;

export function createCircuitGate(options: CircuitGateOptions): CircuitGate {
  const { bucket } = options;
  // Only breakers that are not closed are kept, so the map is as small as the trouble is.
  const states = new Map<string, { state: CircuitState; revision: number }>();
  let unwatch = (): void => undefined;

  const refresh = async (key: string): Promise<void> => {
    const entry = await bucket.get(key);
    const parsed = entry === undefined ? undefined : circuitStateSchema.safeParse(JSON.parse(entry.value));
    if (entry === undefined || parsed?.success !== true || parsed.data.state === 'closed') states.delete(key);
    else states.set(key, { state: parsed.data, revision: entry.revision });
  };
  const claim = async (key: string, next: CircuitState, revision: number): Promise<boolean> => {
    const won = await bucket.update(key, JSON.stringify(next), revision);
    await refresh(key);
    return won;
  };
  return {
    start: async () => {
      unwatch = await bucket.watch((key) => {
        refresh(key).catch((error: unknown) =>
          options.logger.warn({ reason: messageOf(error) }, 'a circuit breaker cannot be read'),
        );
      });
    },
    stop: () => unwatch(),
    admit: async (of) => {
      const key = circuitKey(of);
      for (let claims = 0; claims < claimsMax; claims += 1) {
        const known = states.get(key);
        if (known === undefined) return { kind: 'call', probe: false };
        const decision = admit(known.state, options.executor, options.policy, options.now());
        if (decision.kind !== 'claim') return decision;
        if (await claim(key, decision.next, known.revision)) return { kind: 'call', probe: true };
      }
      return { kind: 'wait', inMs: lostProbeDelayMs };
    },
  };
}

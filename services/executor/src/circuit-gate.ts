/** Asks the circuit breakers before a call: a live view of their bucket, and the claim of the one probe. */
import { admit, circuitKey, circuitStateSchema, withoutProbe, withProbeSeen } from '@ironflow/schema';
import type { CircuitOverrides, CircuitParts, CircuitPolicy, CircuitState } from '@ironflow/schema';
import type { Bucket } from '@ironflow/jetstream';
import { messageOf } from '@ironflow/errors';
import type { Logger } from '@ironflow/service';

export interface CircuitGate {
  /** `overrides`: what the function says of its breakers. */
  admit(of: CircuitParts, overrides?: CircuitOverrides): Promise<Admission>;
  /** Of a probe whose call is under way, now and then: nobody else may claim one meanwhile. Never rejects. */
  renew(of: CircuitParts, probe: number): Promise<void>;
  /** Of a probe whose outcome nobody will report: another may be claimed at once. Never rejects. */
  giveBack(of: CircuitParts, probe: number): Promise<void>;
  start(): Promise<void>;
  stop(): void;
}

export type Admission =
  /** `probe`: this is the one call that a half-open breaker lets through; when it was claimed. */
  { kind: 'call'; probe?: number } | { kind: 'wait'; inMs: number };

export interface CircuitGateOptions {
  bucket: Bucket;
  executor: string;
  policy: CircuitPolicy;
  logger: Logger;
  now: () => number;
  random: () => number;
}

/** Of what they wait: runs that were put off together do not come back together. */
const spread = 0.1;
/** How long a run waits that lost the race for the probe. */
const lostProbeDelayMs = 1_000;
const claimsMax = 3;

interface Known {
  state: CircuitState;
  revision: number;
}

export function createCircuitGate(options: CircuitGateOptions): CircuitGate {
  const { bucket } = options;
  // Only breakers that are not closed are kept, so the map is as small as the trouble is.
  const states = new Map<string, Known>();
  let unwatch = (): void => undefined;

  const refresh = async (key: string): Promise<Known | undefined> => {
    const entry = await bucket.get(key);
    const parsed = entry === undefined ? undefined : circuitStateSchema.safeParse(JSON.parse(entry.value));
    if (entry === undefined || parsed?.success !== true || parsed.data.state === 'closed') {
      states.delete(key);
      return undefined;
    }
    const known = { state: parsed.data, revision: entry.revision };
    states.set(key, known);
    return known;
  };
  const write = async (key: string, next: CircuitState, revision: number): Promise<boolean> => {
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
    admit: async (of, overrides) => {
      // Nearly always, and a key takes a hash.
      if (states.size === 0) return { kind: 'call' };
      const key = circuitKey(of);
      const policy = overrides === undefined ? options.policy : { ...options.policy, ...overrides };
      for (let claims = 0; claims < claimsMax; claims += 1) {
        const known = states.get(key);
        if (known === undefined) return { kind: 'call' };
        const decision = admit(known.state, options.executor, policy, options.now());
        if (decision.kind === 'wait') {
          return { kind: 'wait', inMs: decision.inMs * (1 + spread * options.random()) };
        }
        if (decision.kind === 'call') return decision;
        const { next } = decision;
        if (await write(key, next, known.revision)) return { kind: 'call', probe: next.probe!.startedAtMs };
      }
      return { kind: 'wait', inMs: lostProbeDelayMs };
    },
    renew: async (of, probe) => {
      const key = circuitKey(of);
      const known = states.get(key);
      const next = known && withProbeSeen(known.state, probe, options.policy, options.now());
      if (known === undefined || next === undefined || next === known.state) return;
      try {
        // Refused, it is tried again soon.
        await write(key, next, known.revision);
      } catch (error) {
        options.logger.warn({ reason: messageOf(error) }, 'a probe cannot be renewed');
      }
    },
    giveBack: async (of, probe) => {
      const key = circuitKey(of);
      try {
        for (let attempts = 0; attempts < claimsMax; attempts += 1) {
          const known = await refresh(key);
          const next = known === undefined ? undefined : withoutProbe(known.state, probe);
          if (known === undefined || next === undefined || next === known.state) return;
          if (await write(key, next, known.revision)) return;
        }
      } catch (error) {
        const reason = messageOf(error);
        options.logger.warn({ reason }, 'a probe cannot be given back; it is given up after its time');
      }
    },
  };
}

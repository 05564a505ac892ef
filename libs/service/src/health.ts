/** Readiness: the checks a service names, each bounded, all cached for a moment so that probes cost nothing. */
import { systemClock } from './clock.js';
import type { Clock } from './clock.js';

export interface HealthOptions {
  /** Resolves when the dependency answers, for example `nats` and `postgres`; rejects or never ends when it does not. */
  checks: Record<string, () => Promise<unknown>>;
  /** Turns the service not ready as it begins to stop. */
  stopping?: AbortSignal;
  /** For each check; default 1 s. */
  timeoutMs?: number;
  /** How long an answer stands; default 1 s. */
  cacheMs?: number;
  clock?: Clock;
}

export type CheckResult = 'ok' | 'failed' | 'timed out';

export interface Readiness {
  ready: boolean;
  checks: Record<string, CheckResult>;
}

export interface Health {
  readiness(): Promise<Readiness>;
}

export function createHealth(options: HealthOptions): Health {
  const { checks, stopping, timeoutMs = 1_000, cacheMs = 1_000, clock = systemClock } = options;
  let cached: { at: number; readiness: Promise<Readiness> } | undefined;

  async function runChecks(): Promise<Readiness> {
    const names = Object.keys(checks);
    const results = await Promise.all(names.map((name) => bounded(checks[name]!, timeoutMs, clock)));
    return {
      ready: results.every((result) => result === 'ok'),
      checks: Object.fromEntries(names.map((name, index) => [name, results[index]!])),
    };
  }

  return {
    async readiness() {
      if (cached === undefined || clock.now() - cached.at >= cacheMs) {
        cached = { at: clock.now(), readiness: runChecks() };
      }
      const readiness = await cached.readiness;
      return stopping?.aborted === true ? { ...readiness, ready: false } : readiness;
    },
  };
}

function bounded(check: () => Promise<unknown>, timeoutMs: number, clock: Clock): Promise<CheckResult> {
  return new Promise((resolve) => {
    const timer = clock.setTimeout(() => resolve('timed out'), timeoutMs);
    const settle = (result: CheckResult) => {
      timer.cancel();
      resolve(result);
    };
    // A check that throws instead of rejecting has failed all the same.
    Promise.resolve()
      .then(check)
      .then(
        () => settle('ok'),
        () => settle('failed'),
      );
  });
}

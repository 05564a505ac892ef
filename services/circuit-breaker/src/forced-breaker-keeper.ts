/**
 * Keeps the bucket as operators want it. What they force open is a row in Postgres and a state in the bucket, which the api
 * writes one after the other; the bucket may lose its part (all of NATS, a key that expired, an api that died in between).
 * 1. Each row gets its state, and a state is renewed before it expires.
 * 2. A state that is forced without a row was reset: it is closed. The states are looked at before the rows are read, so one
 *    that is forced just then has its row.
 */
import { messageOf } from '@ironflow/errors';
import type { Bucket, Connection } from '@ironflow/jetstream';
import { circuitKey, closedCircuit, forcedOpen, forcedRemaining } from '@ironflow/schema';
import type { CircuitParts, CircuitState, ForcedOpen } from '@ironflow/schema';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import type { CircuitViews } from './circuit-views.js';

export interface ForcedBreakerList {
  /** Of every environment, those whose time is not over; forgets the others. */
  list(): Promise<ForcedBreaker[]>;
}

export interface ForcedBreaker extends CircuitParts {
  forced: ForcedOpen;
}

export interface ForcedBreakerKeeperOptions {
  bucket: Bucket;
  views: Pick<CircuitViews, 'read' | 'forced'>;
  store: ForcedBreakerList;
  connection: Pick<Connection, 'onReconnect'>;
  logger: Logger;
  clock: Clock;
}

/** For what got lost: what is forced or reset is in the bucket at once. */
const sweepIntervalMs = 30_000;
/** Well before a key of the bucket expires. */
const renewalIntervalMs = 86_400_000;

export function createForcedBreakerKeeper(options: ForcedBreakerKeeperOptions) {
  const { views, store, clock, logger } = options;
  let timer: TimerHandle | undefined;
  let sweeping: Promise<void> | undefined;
  let isStopped = false;
  let renewedAtMs = 0;
  let stopListening = (): void => undefined;

  const sweep = async (): Promise<void> => {
    const before = [...views.forced()];
    const wanted = new Map((await store.list()).map((breaker) => [circuitKey(breaker), breaker]));
    const nowMs = clock.now();
    const isRenewal = nowMs - renewedAtMs >= renewalIntervalMs;
    for (const [key, { forced, ...parts }] of wanted) {
      await write(options, key, (state) =>
        !isRenewal && isAsWanted(state, forced) ? undefined : enforced(state, parts, forced),
      );
    }
    for (const [key, state] of before) {
      if (wanted.has(key)) continue;
      await write(options, key, (now) => released(now, state, nowMs));
    }
    if (isRenewal) renewedAtMs = nowMs;
  };
  const run = (): void => {
    timer?.cancel();
    timer = undefined;
    if (isStopped) return;
    sweeping ??= sweep()
      .catch((error: unknown) =>
        logger.warn({ reason: messageOf(error) }, 'what operators force open cannot be looked at now'),
      )
      .finally(() => {
        sweeping = undefined;
        if (!isStopped) timer = clock.setTimeout(run, sweepIntervalMs);
      });
  };

  return {
    start: (): void => {
      stopListening = options.connection.onReconnect(run);
      run();
    },
    stop: async (): Promise<void> => {
      isStopped = true;
      stopListening();
      timer?.cancel();
      await sweeping;
    },
  };
}

function isAsWanted(state: CircuitState | undefined, { sinceMs, untilMs }: ForcedOpen): boolean {
  return state?.forced?.sinceMs === sinceMs && state.forced.untilMs === untilMs;
}

/** `undefined`: an operator has forced it anew since the rows were read. */
function enforced(
  state: CircuitState | undefined,
  parts: CircuitParts,
  forced: ForcedOpen,
): CircuitState | undefined {
  const isNewer = state?.forced !== undefined && state.forced.sinceMs > forced.sinceMs;
  return isNewer ? undefined : forcedOpen(state, parts, forced);
}

/** `undefined`: it is no longer so, or its time is over and a probe may see how it is. */
function released(
  state: CircuitState | undefined,
  seen: CircuitState,
  nowMs: number,
): CircuitState | undefined {
  const isSame = state?.forced !== undefined && state.forced.sinceMs === seen.forced?.sinceMs;
  return isSame && forcedRemaining(state.forced, nowMs) > 0 ? closedCircuit(state, nowMs) : undefined;
}

/** Of another's write in between the next sweep sees what is left to do. */
async function write(
  { bucket, views }: ForcedBreakerKeeperOptions,
  key: string,
  change: (state: CircuitState | undefined) => CircuitState | undefined,
): Promise<void> {
  const { state, revision } = await views.read(key);
  const next = change(state);
  if (next === undefined) return;
  const text = JSON.stringify(next);
  await (revision === undefined ? bucket.create(key, text) : bucket.update(key, text, revision));
}

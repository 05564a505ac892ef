/**
 * Keeps the bucket as operators want it. What they force open is a row in Postgres and a state in the bucket, which the api
 * writes one after the other; the bucket may lose its part (all of NATS, a key that expired, an api that died in between).
 * 1. Each row gets its state, and a state is renewed before it expires. Whoever resets deletes the row first: it is read again
 *    between the state and the write that goes by the state's revision, so that no reset is undone.
 * 2. A state that is forced without a row was reset: it is closed. The states are looked at before the rows are read, so one
 *    that is forced just then has its row.
 */
import type { ForcedBreaker, ForcedBreakerList } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Bucket, Connection } from '@ironflow/jetstream';
import { circuitKey, closedCircuit, forcedOpen, forcedRemaining } from '@ironflow/schema';
import type { CircuitState, ForcedOpen } from '@ironflow/schema';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import type { CircuitViews, StoredCircuit } from './circuit-views.js';

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
    for (const breaker of wanted.values()) await enforce(options, breaker, isRenewal);
    for (const [key, state] of before) {
      if (wanted.has(key)) continue;
      await release(options, key, { seen: state, nowMs });
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

async function enforce(
  options: ForcedBreakerKeeperOptions,
  { forced: listed, ...parts }: ForcedBreaker,
  isRenewal: boolean,
): Promise<void> {
  const key = circuitKey(parts);
  const stored = await options.views.read(key);
  if (!isRenewal && isAsWanted(stored.state, listed)) return;
  const forced = await options.store.find(parts);
  if (forced === undefined) return;
  // Read before an operator forced it anew.
  const isNewer = stored.state?.forced !== undefined && stored.state.forced.sinceMs > forced.sinceMs;
  if (!isNewer) await write(options, key, { stored, next: forcedOpen(stored.state, parts, forced) });
}

/** Not one that was forced anew, nor one whose time is over: a probe may see how that is. */
async function release(
  options: ForcedBreakerKeeperOptions,
  key: string,
  { seen, nowMs }: { seen: CircuitState; nowMs: number },
): Promise<void> {
  const stored = await options.views.read(key);
  const { state } = stored;
  if (state?.forced === undefined || state.forced.sinceMs !== seen.forced?.sinceMs) return;
  if (forcedRemaining(state.forced, nowMs) === 0) return;
  await write(options, key, { stored, next: closedCircuit(state, nowMs) });
}

/** Of another's write in between the next sweep sees what is left to do. */
async function write(
  { bucket }: ForcedBreakerKeeperOptions,
  key: string,
  { stored, next }: { stored: StoredCircuit; next: CircuitState },
): Promise<void> {
  const text = JSON.stringify(next);
  await (stored.revision === undefined
    ? bucket.create(key, text)
    : bucket.update(key, text, stored.revision));
}

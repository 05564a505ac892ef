/**
 * Removes from RESULTS what Postgres has and nobody needs any more: what is older than an hour, or beyond the size the
 * stream should keep (an eighth of its own at most). One collector at a time does it. It never removes what is not
 * acknowledged by the collectors.
 */
import { consumers, resultsTrim } from '@ironflow/schema';
import type { Database } from '@ironflow/database';
import type { JetStream, StreamStates } from '@ironflow/jetstream';
import type { Clock, Logger, Stoppable, TimerHandle } from '@ironflow/service';
import type { CollectorMetrics } from './collector-metrics.js';
import { bytesKept, hasOutlived, sizeBound, trimCeiling } from './trim-bound.js';
import type { TrimLimits } from './trim-bound.js';

export interface TrimmerOptions {
  jetstream: Pick<JetStream, 'states' | 'journal'>;
  database: Pick<Database, 'withAdvisoryLock'>;
  logger: Logger;
  clock: Clock;
  metrics: Pick<CollectorMetrics, 'trimmed'>;
  intervalMs: number;
  limits?: TrimLimits;
}

export interface Trimmer extends Stoppable {
  start(): void;
  /** One pass; answers the sequence that the stream begins with afterwards, if anything was removed. */
  runOnce(): Promise<number | undefined>;
}

const limitsDefault: TrimLimits = { ...resultsTrim, breakerPatienceMs: 30_000 };

export function createTrimmer(options: TrimmerOptions): Trimmer {
  const { jetstream, clock, logger, limits = limitsDefault } = options;
  let timer: TimerHandle | undefined;
  let running: Promise<unknown> = Promise.resolve();
  let stopped = false;

  const trim = async (): Promise<number | undefined> => {
    const { states } = jetstream;
    const nowMs = clock.now();
    const stream = await states.stream('RESULTS');
    const isTooOld = hasOutlived(stream, limits.maxAgeMs, nowMs);
    if (!isTooOld && stream.bytes <= bytesKept(stream, limits.maxBytes)) return undefined;
    const [collector, breaker] = await Promise.all([
      states.consumer(consumers.resultCollector),
      states.consumer(consumers.circuitBreaker),
    ]);
    const { filterSubject } = consumers.circuitBreaker;
    const breakerNextStoredAtMs = await states.storedAt('RESULTS', breaker.ackFloor + 1, filterSubject);
    const ceiling = trimCeiling({ nowMs, stream, collector, breaker, breakerNextStoredAtMs }, limits);
    const wanted = Math.max(
      sizeBound(stream, limits.maxBytes),
      isTooOld ? await firstStoredSince(states, nowMs - limits.maxAgeMs, stream.firstSequence, ceiling) : 0,
    );
    const bound = Math.min(wanted, ceiling);
    if (bound <= stream.firstSequence) return undefined;
    await jetstream.journal.trimBelow(bound);
    options.metrics.trimmed.add(bound - stream.firstSequence);
    logger.debug({ bound }, 'RESULTS was trimmed');
    return bound;
  };
  const runOnce = (): Promise<number | undefined> =>
    options.database.withAdvisoryLock('ironflow.trim_results', trim);
  const tick = (): void => {
    running = runOnce()
      .catch((error: unknown) => logger.warn({ err: error }, 'RESULTS could not be trimmed'))
      .finally(schedule);
  };
  const schedule = (): void => {
    if (!stopped) timer = clock.setTimeout(tick, options.intervalMs);
  };
  return {
    runOnce,
    start: schedule,
    stop: async () => {
      stopped = true;
      timer?.cancel();
      await running;
    },
  };
}

/** By halving: messages are stored in the order of their times. */
async function firstStoredSince(
  states: StreamStates,
  sinceMs: number,
  first: number,
  ceiling: number,
): Promise<number> {
  let low = first;
  let high = ceiling;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const storedAtMs = await states.storedAt('RESULTS', middle);
    if (storedAtMs !== undefined && storedAtMs < sinceMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

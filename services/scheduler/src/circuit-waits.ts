/**
 * Runs that wait for a circuit breaker go on as it closes, whoever closed it: their timers are made due then, and fire as
 * they do anyway. Where it takes another probe, one of them goes on to make it.
 *
 * A run may have been put off just before, and be accepted as waiting just after they were looked for: they are looked for
 * a second time. Notices come at most once, too; the timers that they were put off with make up for all of it.
 */
import type { SchedulerStore } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import type { CircuitNotice } from '@ironflow/schema';
import type { Clock, Logger, Stoppable, TimerHandle } from '@ironflow/service';
import type { SchedulerMetrics } from './metrics.js';
import type { Timers } from './timers.js';

export interface CircuitWaitsOptions {
  store: Pick<SchedulerStore, 'endCircuitWaits'>;
  notices: Pick<Notices, 'onCircuit'>;
  timers: Pick<Timers, 'arm'>;
  metrics: Pick<SchedulerMetrics, 'swept'>;
  logger: Logger;
  clock: Clock;
}

export interface CircuitWaits extends Stoppable {
  start(): void;
}

/** One replica hears each notice. */
const queueGroup = 'scheduler';
/** As many as one pass of the timers fires. */
const pageMax = 500;
/** By then the collector has accepted whatever was put off before. */
const secondLookMs = 5_000;

export function createCircuitWaits(options: CircuitWaitsOptions): CircuitWaits {
  const { store, timers, clock, logger } = options;
  const looking = new Map<string, Promise<void>>();
  const secondLooks = new Map<string, TimerHandle>();
  let stopListening = (): void => undefined;

  const endWaits = async ({ scope, functionId, change }: CircuitNotice): Promise<void> => {
    const limit = change === 'probed' ? 1 : pageMax;
    let after: string | undefined;
    try {
      for (;;) {
        const query = { environmentId: scope.environmentId, functionId, after, limit };
        const runIds = await store.endCircuitWaits(query);
        if (runIds.length > 0) timers.arm(0);
        options.metrics.swept('circuit_waits', runIds.length);
        if (runIds.length < pageMax) return;
        after = runIds.at(-1);
      }
    } catch (error) {
      const reason = messageOf(error);
      logger.warn({ reason }, 'runs that wait for a breaker cannot be woken now; their timers wake them');
    }
  };
  const look = (key: string, notice: CircuitNotice): void => {
    // After one that is under way, not instead: it may be past those that are meant.
    const before = looking.get(key) ?? Promise.resolve();
    const next = before
      .then(() => endWaits(notice))
      .finally(() => {
        if (looking.get(key) === next) looking.delete(key);
      });
    looking.set(key, next);
  };
  const lookLater = (key: string, notice: CircuitNotice): void => {
    secondLooks.get(key)?.cancel();
    const again = (): void => {
      secondLooks.delete(key);
      look(key, notice);
    };
    secondLooks.set(key, clock.setTimeout(again, secondLookMs));
  };

  return {
    start: () => {
      stopListening = options.notices.onCircuit((notice) => {
        const { scope, functionId, change } = notice;
        const key = `${scope.environmentId} ${functionId}`;
        if (change === 'opened' || change === 'forced') return;
        look(key, notice);
        if (change !== 'probed') lookLater(key, notice);
      }, queueGroup);
    },
    stop: async () => {
      stopListening();
      for (const timer of secondLooks.values()) timer.cancel();
      await Promise.all(looking.values());
    },
  };
}

/**
 * What the database needs now and then so that it never needs it urgently: partitions made ahead, and idempotency keys
 * removed that hold no more, dead letters that nobody came back to, the log of webhooks beyond what is kept, events and runs beyond their
 * retention, and environments whose grace has ended. One scheduler at a time; missing a round, or a day of rounds, harms nothing.
 */
import type { SchedulerStore } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import type { Erasure } from './erasure.js';
import type { Retention } from './retention.js';

export interface UpkeepOptions {
  store: Pick<
    SchedulerStore,
    | 'removeLeftBehind'
    | 'removeExpiredKeys'
    | 'removeExpiredLetters'
    | 'removeExpiredFlow'
    | 'removeOldDeliveries'
    | 'withAdvisoryLock'
  >;
  ensurePartitions: () => Promise<void>;
  retention: Retention;
  erasure: Erasure;
  logger: Logger;
  clock: Clock;
}

export interface Upkeep {
  start(): void;
  stop(): Promise<void>;
}

/** Not at once: a start is the busiest moment, and partitions are made weeks ahead. */
const firstDelayMs = 60_000;
/** Often enough that the keys of an hour fit a round: 20 million. */
const intervalMs = 60 * 60_000;
const pageMax = 10_000;
const pagesMax = 2_000;
const lockName = 'scheduler-upkeep';

export function createUpkeep(options: UpkeepOptions): Upkeep {
  const { store, ensurePartitions, retention, erasure, logger, clock } = options;
  let timer: TimerHandle | undefined;
  let round: Promise<void> | undefined;
  let stopped = true;

  const inPages = async (remove: (limit: number) => Promise<number>): Promise<void> => {
    for (let page = 0; page < pagesMax && !stopped; page += 1) {
      if ((await remove(pageMax)) < pageMax) return;
    }
  };
  const attempt = (work: () => Promise<unknown>): Promise<unknown> =>
    work().catch((error: unknown) =>
      logger.warn({ reason: messageOf(error) }, 'the upkeep of the database ended early; it is tried again'),
    );
  const runOnce = async (): Promise<void> => {
    await attempt(() =>
      store.withAdvisoryLock(lockName, async () => {
        // A busy table gives up soon: that is no reason to keep keys.
        await attempt(ensurePartitions);
        await attempt(() => inPages(store.removeExpiredKeys));
        await attempt(() => inPages(store.removeExpiredLetters));
        await attempt(() => inPages(store.removeOldDeliveries));
        await attempt(() => inPages(store.removeLeftBehind));
        await attempt(() => inPages(store.removeExpiredFlow));
        await attempt(() => retention.runOnce(() => stopped));
        await attempt(() => erasure.runOnce(() => stopped));
      }),
    );
  };
  const schedule = (delayMs: number): void => {
    if (stopped) return;
    timer = clock.setTimeout(() => {
      round = runOnce().finally(() => schedule(intervalMs));
    }, delayMs);
  };
  return {
    start: () => {
      stopped = false;
      schedule(firstDelayMs);
    },
    stop: async () => {
      stopped = true;
      timer?.cancel();
      await round;
    },
  };
}

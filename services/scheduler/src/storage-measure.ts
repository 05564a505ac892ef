/** Measures now and then how much each environment stores, for its quota. One scheduler at a time; a round that is missed harms nothing. */
import { messageOf } from '@ironflow/errors';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';

export interface StorageMeasureOptions {
  measure: () => Promise<void>;
  withAdvisoryLock: (name: string, work: () => Promise<void>) => Promise<void | undefined>;
  logger: Logger;
  clock: Clock;
}

export interface StorageMeasure {
  start(): void;
  stop(): Promise<void>;
}

const intervalMs = 60_000;
const lockName = 'scheduler-storage';

export function createStorageMeasure(options: StorageMeasureOptions): StorageMeasure {
  const { measure, withAdvisoryLock, logger, clock } = options;
  let timer: TimerHandle | undefined;
  let round: Promise<void> | undefined;
  let stopped = true;

  const runOnce = async (): Promise<void> => {
    await withAdvisoryLock(lockName, measure).catch((error: unknown) =>
      logger.warn(
        { reason: messageOf(error) },
        'what environments store was not measured; it is tried again',
      ),
    );
  };
  const schedule = (): void => {
    if (stopped) return;
    timer = clock.setTimeout(() => {
      round = runOnce().finally(schedule);
    }, intervalMs);
  };
  return {
    start: () => {
      stopped = false;
      schedule();
    },
    stop: async () => {
      stopped = true;
      timer?.cancel();
      await round;
    },
  };
}

/**
 * What became of times, written to their schedules once a pass. It is for people, and for how far back a replica looks that starts:
 * what cannot be written now is written later, and what is lost with this process costs a look further back.
 */
import type { CronStore, FiredTime, Schedule } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Logger } from '@ironflow/service';
import type { CronMetrics } from './cron-metrics.js';
import { scheduleKey } from './schedule-book.js';
import type { Firing, GivenUpTime, ScheduleBook } from './schedule-book.js';

export interface FiringRecords {
  /** By this replica. */
  fired(firing: Firing): void;
  givenUp(time: GivenUpTime): void;
  /** Never rejects. */
  write(): Promise<void>;
  /** Something could not be written. */
  pending(): boolean;
}

export interface FiringRecordsOptions {
  store: Pick<CronStore, 'recordFired' | 'recordGivenUp'>;
  book: Pick<ScheduleBook, 'settledUntilMs'>;
  metrics: Pick<CronMetrics, 'givenUp'>;
  logger: Logger;
}

/** Beyond, the oldest go: their schedules are too far behind for it to matter. */
const givenUpMax = 10_000;

export function createFiringRecords({ store, book, metrics, logger }: FiringRecordsOptions): FiringRecords {
  /** By schedule, the latest. */
  const fired = new Map<string, { schedule: Schedule; scheduledAtMs: number }>();
  let givenUp: GivenUpTime[] = [];

  const writeFired = async (): Promise<void> => {
    const times: FiredTime[] = [];
    for (const { schedule, scheduledAtMs } of fired.values()) {
      // Not settled before the first of those that are still open.
      const settledUntilMs = book.settledUntilMs(schedule) ?? 0;
      times.push({ schedule, scheduledAtMs, settledUntilMs });
    }
    await store.recordFired(times);
    fired.clear();
  };
  const writeGivenUp = async (): Promise<void> => {
    const count = await store.recordGivenUp(givenUp);
    givenUp = [];
    if (count === 0) return;
    metrics.givenUp(count);
    logger.error({ givenUp: count }, 'times of schedules were given up: they could not be fired in time');
  };

  return {
    fired: ({ schedule, scheduledAtMs }) => {
      const key = scheduleKey(schedule);
      const latestMs = Math.max(scheduledAtMs, fired.get(key)?.scheduledAtMs ?? 0);
      fired.set(key, { schedule, scheduledAtMs: latestMs });
    },
    givenUp: (time) => {
      givenUp.push(time);
      if (givenUp.length > givenUpMax) givenUp = givenUp.slice(-givenUpMax);
    },
    write: async () => {
      try {
        // In this order: what was given up lies before what was fired, and counts only while it is not settled.
        if (givenUp.length > 0) await writeGivenUp();
        if (fired.size > 0) await writeFired();
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'what became of firings cannot be written now');
      }
    },
    pending: () => fired.size > 0 || givenUp.length > 0,
  };
}

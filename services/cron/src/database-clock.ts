/**
 * Postgres' clock, as far as this process knows it. The clocks of replicas differ, so none of them decides; the one they
 * share does. The offset is taken when the answer arrives, by when Postgres is already further: never early.
 */
import { messageOf } from '@ironflow/errors';
import type { Clock, Logger } from '@ironflow/service';

export interface DatabaseClock {
  /** Asks Postgres; if it does not answer, the last offset stands. */
  measure(): Promise<void>;
  /** `undefined` until it was measured once. */
  now(): number | undefined;
}

export interface DatabaseClockOptions {
  ask: () => Promise<number>;
  clock: Clock;
  logger: Logger;
  timeoutMs?: number;
}

/** Nothing fires without Postgres; by asking again in short order it is found out soon that it is back. */
const defaultTimeoutMs = 1_000;

export function createDatabaseClock(options: DatabaseClockOptions): DatabaseClock {
  const { ask, clock, logger, timeoutMs = defaultTimeoutMs } = options;
  let offsetMs: number | undefined;
  let wasAnswered = true;

  const askInTime = async (): Promise<number> => {
    let timer: ReturnType<Clock['setTimeout']> | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = clock.setTimeout(() => reject(new Error('no answer in time')), timeoutMs);
    });
    try {
      return await Promise.race([ask(), timeout]);
    } finally {
      timer?.cancel();
    }
  };

  return {
    measure: async () => {
      try {
        offsetMs = (await askInTime()) - clock.now();
        wasAnswered = true;
      } catch (error) {
        if (wasAnswered) logger.warn({ reason: messageOf(error) }, 'Postgres does not tell the time');
        wasAnswered = false;
      }
    },
    now: () => (offsetMs === undefined ? undefined : clock.now() + offsetMs),
  };
}

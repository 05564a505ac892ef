/**
 * The cron service: emits an event for every time of every schedule. Each replica works out all of them and sleeps until
 * the next; who creates the key of a firing first publishes it. Postgres' clock says what time it is, and Postgres whether a
 * schedule still has a time: while it is away nothing fires, and what came up waits for it within the catch-up window.
 *
 * After a start and a reconnection what was settled last is gone through once more: if NATS lost its data, events may have been lost
 * that ingest had not stored yet. Those that Postgres has are left alone, and where NATS lost nothing the marks in the bucket settle the rest.
 */
import { createCronStore } from '@ironflow/database';
import type { CronStore, Database } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { JetStream } from '@ironflow/jetstream';
import { createTimetables } from '@ironflow/schedule';
import { systemClock } from '@ironflow/service';
import type { Clock, Logger, Metrics, SpanRecorder, Stoppable, TimerHandle } from '@ironflow/service';
import { createCronMetrics } from './cron-metrics.js';
import type { CronMetrics } from './cron-metrics.js';
import { createDatabaseClock } from './database-clock.js';
import { createFirer } from './firer.js';
import { createFiringRecords } from './firing-records.js';
import type { FiringRecords } from './firing-records.js';
import { createScheduleBook } from './schedule-book.js';
import type { Firing, ScheduleBook } from './schedule-book.js';
import { createScheduleSource } from './schedule-source.js';

export interface CronOptions {
  jetstream: JetStream;
  /** As the role that works across environments. */
  database: Database;
  logger: Logger;
  metrics: Metrics;
  spans: SpanRecorder;
  clock?: Clock;
}

export interface CronService extends Stoppable {
  start(): Promise<void>;
}

/** Postgres' clock is asked at least this often, since this machine's may be set meanwhile. */
const sleepMsMax = 30_000;
/** A timer may fire a little early. */
const sleepMsMin = 2;
const retryMs = 1_000;
/** At midnight thousands are due at once. */
const firesAtOnceMax = 64;

export function createCron(options: CronOptions): CronService {
  const { jetstream, logger, clock = systemClock } = options;
  const store = createCronStore(options.database);
  const book = createScheduleBook(createTimetables());
  const metrics = createCronMetrics(options.metrics, () => book.size());
  const databaseClock = createDatabaseClock({ ask: () => store.now(), clock, logger });
  const fire = createFirer({
    bucket: jetstream.bucket('SYS_cron_triggers'),
    publisher: jetstream.publisher,
    databaseClock,
    metrics,
    spans: options.spans,
    logger,
    clock,
  });
  const records = createFiringRecords({ store, book, metrics, logger });
  const sleep = createSleep(clock);
  const source = createScheduleSource({
    bucket: jetstream.bucket('SYS_functions'),
    load: () => store.schedules(),
    onSchedules: (schedules) => {
      for (const { schedule, reason } of book.replace(schedules)) {
        const { environmentId } = schedule.scope;
        logger.warn({ environmentId, functionId: schedule.functionId, reason }, 'a schedule cannot be read');
      }
      sleep.wake();
    },
    clock,
    logger,
  });
  let stopped = false;
  let loop = Promise.resolve();
  let stopListening = (): unknown => undefined;

  /** One pass over what is due; answers how long there is nothing to do. */
  const runOnce = async (): Promise<number> => {
    await databaseClock.measure();
    const nowMs = databaseClock.now();
    if (nowMs === undefined) return retryMs;
    const { firings, givenUp } = book.due(nowMs);
    for (const time of givenUp) records.givenUp(time);
    const againMs = await fireDue({ store, book, fire, records, metrics, logger }, firings);
    await records.write();
    const afterMs = databaseClock.now() ?? nowMs;
    const nextMs = book.nextDueMs(nowMs);
    const untilNextMs = nextMs === undefined ? sleepMsMax : nextMs - afterMs;
    return Math.min(againMs, untilNextMs, records.pending() ? retryMs : sleepMsMax, sleepMsMax);
  };
  const run = async (): Promise<void> => {
    while (!stopped) {
      const delayMs = await runOnce().catch((error: unknown) => {
        logger.error({ err: error }, 'a pass over the schedules failed');
        return retryMs;
      });
      if (!stopped) await sleep.forMs(Math.max(delayMs, sleepMsMin));
    }
  };

  return {
    start: async () => {
      stopListening = jetstream.connection.onReconnect(() => {
        book.lookBackAgain();
        sleep.wake();
      });
      await source.start().catch((error: unknown) => {
        // Without its bucket there is still the reading every half minute.
        logger.warn({ reason: messageOf(error) }, 'changes of registries cannot be heard');
      });
      loop = run();
    },
    stop: async () => {
      stopped = true;
      stopListening();
      source.stop();
      sleep.wake();
      await loop;
    },
  };
}

interface FiringParts {
  store: Pick<CronStore, 'mayFire' | 'storedAmong'>;
  book: Pick<ScheduleBook, 'settle'>;
  fire: ReturnType<typeof createFirer>;
  records: Pick<FiringRecords, 'fired'>;
  metrics: Pick<CronMetrics, 'settled'>;
  logger: Logger;
}

/** Those whose schedules still have them; answers in how long to try again what could not be fired now. */
async function fireDue(parts: FiringParts, firings: readonly Firing[]): Promise<number> {
  if (firings.length === 0) return Infinity;
  const answer = await Promise.all([
    parts.store.mayFire(firings),
    parts.store.storedAmong(firings.filter(({ isLookedBackAt }) => isLookedBackAt)),
  ]).catch((error: unknown) => {
    parts.logger.warn({ reason: messageOf(error) }, 'firings wait until Postgres answers');
    return undefined;
  });
  if (answer === undefined) return retryMs;
  const [may, stored] = answer;
  const toFire = firings.filter((firing, index) => {
    if (may[index] === true && !stored.has(firing.eventId)) return true;
    parts.book.settle(firing);
    if (may[index] !== true) parts.metrics.settled('withdrawn');
    return false;
  });
  return fireAll({
    firings: toFire,
    fire: parts.fire,
    onSettled: (firing, published) => {
      parts.book.settle(firing);
      if (published) parts.records.fired(firing);
    },
  });
}

/** In how long to try again what could not be fired now. */
async function fireAll(of: {
  firings: readonly Firing[];
  fire: ReturnType<typeof createFirer>;
  onSettled: (firing: Firing, published: boolean) => void;
}): Promise<number> {
  let againMs = Infinity;
  const queue = of.firings.values();
  const work = async (): Promise<void> => {
    for (const firing of queue) {
      const outcome = await of.fire(firing);
      if (outcome.kind === 'settled') of.onSettled(firing, outcome.published);
      else againMs = Math.min(againMs, outcome.inMs);
    }
  };
  await Promise.all(Array.from({ length: Math.min(firesAtOnceMax, of.firings.length) }, work));
  return againMs;
}

/** A sleep that can be cut short, also before it begins. */
function createSleep(clock: Clock): { forMs(delayMs: number): Promise<void>; wake(): void } {
  let isWoken = false;
  let end: (() => void) | undefined;
  return {
    forMs: async (delayMs) => {
      let timer: TimerHandle | undefined;
      if (!isWoken) {
        await new Promise<void>((resolve) => {
          end = resolve;
          timer = clock.setTimeout(resolve, delayMs);
        });
      }
      timer?.cancel();
      end = undefined;
      isWoken = false;
    },
    wake: () => {
      isWoken = true;
      end?.();
    },
  };
}

/**
 * Events that were let go because their environment had its share in hand: Postgres has them as unrouted. Which ones is remembered
 * here, and they are read from there page by page, environments in turn. What is forgotten, as by a process that dies, or cannot be
 * routed, the sweep of unrouted events finds.
 */
import { TurnQueue } from '@ironflow/collections';
import type { SchedulerStore } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { StoredEvent } from '@ironflow/schema';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';

export interface EventName {
  id: string;
  environmentId: string;
}

export interface EventBacklog {
  add(event: EventName): void;
  /** Whoever comes later is to wait as well. */
  has(environmentId: string): boolean;
  size: () => number;
  stop(): Promise<void>;
}

export interface EventBacklogOptions {
  store: Pick<SchedulerStore, 'unroutedAmong'>;
  /** Resolves once it is routed and announced, or could not be. */
  route: (event: StoredEvent) => Promise<unknown>;
  logger: Logger;
  clock: Clock;
  eventsMax?: number;
}

/** Some 50 bytes each. */
const defaultEventsMax = 200_000;
/** Events are up to 512 KiB each. */
const pageMax = 64;
const retryDelayMs = 1_000;

export function createEventBacklog(options: EventBacklogOptions): EventBacklog {
  const { store, logger, clock, eventsMax = defaultEventsMax } = options;
  const waiting = new TurnQueue<EventName>();
  let working: Promise<void> | undefined;
  let pause: TimerHandle | undefined;
  let goOn = (): void => undefined;
  let isStopped = false;

  /** Answers how long to wait until the next one: half of the time is for others. */
  const routePage = async (named: readonly EventName[]): Promise<number> => {
    const startedAtMs = clock.now();
    try {
      const events = await store.unroutedAmong(named.map(({ id }) => id));
      await Promise.all(events.map(options.route));
      return Math.min(clock.now() - startedAtMs, retryDelayMs);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'events that wait cannot be read now; it is tried again');
      for (const one of named) waiting.add(one.environmentId, one);
      return retryDelayMs;
    }
  };
  const workOff = async (): Promise<void> => {
    while (!isStopped && waiting.size > 0) {
      const pauseMs = await routePage(waiting.take(pageMax));
      await new Promise<void>((resolve) => {
        goOn = resolve;
        pause = clock.setTimeout(resolve, pauseMs);
      });
    }
    working = undefined;
  };

  return {
    add: (event) => {
      if (waiting.size >= eventsMax) return;
      waiting.add(event.environmentId, event);
      working ??= workOff();
    },
    has: (environmentId) => waiting.sizeOf(environmentId) > 0,
    size: () => waiting.size,
    stop: async () => {
      isStopped = true;
      pause?.cancel();
      goOn();
      await working;
    },
  };
}

/**
 * Events that were accepted to come later: stored as they become due, and routed at once. One that is stored and not routed, since
 * its scheduler died between the two, is found by the sweep.
 */
import type { SchedulerStore } from '@ironflow/database';
import type { Notices } from '@ironflow/jetstream';
import type { Clock, Logger } from '@ironflow/service';
import type { EventRouter } from './event-router.js';
import type { SchedulerMetrics } from './metrics.js';
import { createTimerWheel } from './timer-wheel.js';

export interface ScheduledEventsOptions {
  store: Pick<SchedulerStore, 'moveDueEvents' | 'nextEventDueInMs'>;
  router: Pick<EventRouter, 'route' | 'announce'>;
  notices: Pick<Notices, 'onEventScheduled'>;
  metrics: Pick<SchedulerMetrics, 'event' | 'scheduledEventLateness'>;
  logger: Logger;
  clock: Clock;
  pollMs?: number;
}

export interface ScheduledEvents {
  start(): void;
  stop(): Promise<void>;
}

/** Events are up to 512 KiB each, and a batch of them is in memory at once. */
const batchMax = 100;
/** One replica hears each notice. */
const queueGroup = 'scheduler';

export function createScheduledEvents(options: ScheduledEventsOptions): ScheduledEvents {
  const { store, router, notices, metrics, logger, clock, pollMs } = options;
  const wheel = createTimerWheel({
    fire: async (limit) => {
      const events = await store.moveDueEvents(limit);
      if (events.length === 0) return { count: 0 };
      const batch = await router.route(events);
      await router.announce(batch);
      metrics.event('routed', [...batch.outcomes.values()].filter(({ kind }) => kind === 'routed').length);
      return { count: events.length };
    },
    nextDueInMs: () => store.nextEventDueInMs(),
    onLateness: (seconds) => metrics.scheduledEventLateness(seconds),
    what: 'scheduled events',
    logger,
    clock,
    batchMax,
    ...(pollMs === undefined ? {} : { pollMs }),
  });
  let stopListening = (): void => undefined;
  return {
    start: () => {
      stopListening = notices.onEventScheduled(({ dueInMs }) => wheel.arm(dueInMs), queueGroup);
      wheel.start();
    },
    stop: async () => {
      stopListening();
      await wheel.stop();
    },
  };
}

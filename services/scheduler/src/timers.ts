/** Timers of runs: a wheel that wakes them. */
import type { RunToActivate, SchedulerStore } from '@ironflow/database';
import type { Clock, Logger } from '@ironflow/service';
import type { SchedulerMetrics } from './metrics.js';
import type { PauseSpans } from './pause-spans.js';
import { createTimerWheel } from './timer-wheel.js';
import type { TimerWheel } from './timer-wheel.js';

export interface TimersOptions {
  store: Pick<SchedulerStore, 'fireTimers' | 'nextDueInMs'>;
  onWoken: (runs: RunToActivate[]) => void;
  /** A wait of the run is due, and what it waits for may be there. */
  onHeld: (runId: string) => void;
  recordPauses: PauseSpans;
  metrics: Pick<SchedulerMetrics, 'timersFired' | 'timerLateness'>;
  logger: Logger;
  clock: Clock;
  pollMs?: number;
  batchMax?: number;
}

export type Timers = TimerWheel;

export function createTimers(options: TimersOptions): Timers {
  const { store, metrics, logger, clock, pollMs, batchMax } = options;
  return createTimerWheel({
    fire: async (limit) => {
      const { woken, held, fired, ended, nextDueInMs } = await store.fireTimers(limit);
      metrics.timersFired(fired);
      if (woken.length > 0) options.onWoken(woken);
      for (const runId of held) options.onHeld(runId);
      options.recordPauses(ended);
      return { count: fired, nextDueInMs };
    },
    nextDueInMs: () => store.nextDueInMs(),
    onLateness: (seconds) => metrics.timerLateness(seconds),
    what: 'timers',
    logger,
    clock,
    ...(pollMs === undefined ? {} : { pollMs }),
    ...(batchMax === undefined ? {} : { batchMax }),
  });
}

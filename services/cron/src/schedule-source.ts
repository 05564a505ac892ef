/** Reads the schedules again whenever a registry changed and every half minute, one read at a time. */
import type { Schedule } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Bucket } from '@ironflow/jetstream';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';

export interface ScheduleSourceOptions {
  /** SYS_functions: says that a registry changed. */
  bucket: Bucket;
  load: () => Promise<readonly Schedule[]>;
  onSchedules: (schedules: readonly Schedule[]) => void;
  clock: Clock;
  logger: Logger;
  /** Default 30 s. */
  intervalMs?: number;
}

export interface ScheduleSource {
  start(): Promise<void>;
  stop(): void;
}

const defaultIntervalMs = 30_000;
/** Many registrations at once are read together; a time that comes up meanwhile is still fired. */
const pauseMs = 200;
const retryMs = 1_000;

export function createScheduleSource(options: ScheduleSourceOptions): ScheduleSource {
  const { bucket, load, onSchedules, clock, logger, intervalMs = defaultIntervalMs } = options;
  let timer: TimerHandle | undefined;
  let isSoon = false;
  let isReading = false;
  let isChanged = false;
  let stopped = false;
  let unwatch = (): void => undefined;

  const schedule = (delayMs: number): void => {
    timer?.cancel();
    isSoon = delayMs <= pauseMs;
    timer = stopped ? undefined : clock.setTimeout(() => void read(), delayMs);
  };
  const read = async (): Promise<void> => {
    isReading = true;
    isChanged = false;
    let delayMs = intervalMs;
    try {
      const schedules = await load();
      if (!stopped) onSchedules(schedules);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'the schedules cannot be read; the known ones go on');
      delayMs = retryMs;
    }
    isReading = false;
    schedule(isChanged ? pauseMs : delayMs);
  };
  const onChange = (): void => {
    isChanged = true;
    if (!isReading && !isSoon) schedule(pauseMs);
  };

  return {
    start: async () => {
      schedule(0);
      unwatch = await bucket.watch(onChange);
    },
    stop: () => {
      stopped = true;
      timer?.cancel();
      unwatch();
    },
  };
}

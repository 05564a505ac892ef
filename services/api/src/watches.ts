/**
 * Live views of something that changes, as server-sent events. Whoever opens one says how the next event is read, and who tells that
 * there may be one.
 * 1. It is listened to before the first is read, so nothing falls in between.
 * 2. Nothing is read for a reader that does not read, and one that has read nothing for a whole heartbeat is let go.
 * 3. What was not heard costs at most one heartbeat. The key is checked again with each.
 * 4. Watches are bounded, those of one environment among them.
 */
import type { ServerResponse } from 'node:http';
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type { Clock, Logger, Metrics, Stoppable, TimerHandle } from '@ironflow/service';
import { finish, tooManyStreams } from './run-streams.js';

export interface WatchesOptions {
  logger: Logger;
  metrics: Metrics;
  clock: Clock;
  streamsMax?: number;
  heartbeatMs?: number;
}

export interface WatchRequest {
  environmentId: string;
  /** The text of the next event; `undefined` when nothing is new. Asked one at a time. */
  next: () => Promise<string | undefined>;
  /** Tells whenever something may be new; answers how that is stopped. */
  listen: (onChange: () => void) => () => void;
  /** Where the stream goes. */
  open: () => ServerResponse;
  /** Whether whoever asked may still see it. */
  isAllowed: () => Promise<boolean>;
}

export interface Watches extends Stoppable {
  /** Throws, with nothing sent, when there is no room. */
  watch(request: WatchRequest): void;
  /** Ends what may not be seen any more of this environment's; its keys have changed. */
  recheck(environmentId: string): void;
  stop(): Promise<void>;
}

interface Watch {
  environmentId: string;
  look(): void;
  /** Ends it if whoever asked may not see it any more. */
  recheck(): void;
  end(): Promise<void>;
}

const streamsMaxDefault = 1_000;
const heartbeatMsDefault = 15_000;

export function createWatches(options: WatchesOptions): Watches {
  const watches = new Set<Watch>();
  const ofEnvironment = new Map<string, number>();
  let isStopped = false;
  options.metrics.gauge('api_watches', 'Watches of documents and keys now', () => watches.size);

  const count = (environmentId: string, by: 1 | -1): void => {
    const own = (ofEnvironment.get(environmentId) ?? 0) + by;
    if (own === 0) ofEnvironment.delete(environmentId);
    else ofEnvironment.set(environmentId, own);
  };
  return {
    watch: (request) => {
      const { environmentId } = request;
      if (isStopped || watches.size >= (options.streamsMax ?? streamsMaxDefault)) throw tooManyStreams();
      if ((ofEnvironment.get(environmentId) ?? 0) >= limits.watchesMax) throw tooManyWatches();
      const watch = createWatch(options, request, () => {
        stopListening();
        count(environmentId, -1);
        watches.delete(watch);
      });
      const stopListening = request.listen(() => watch.look());
      count(environmentId, 1);
      watches.add(watch);
      watch.look();
    },
    recheck: (environmentId) => {
      for (const one of watches) if (one.environmentId === environmentId) one.recheck();
    },
    stop: async () => {
      isStopped = true;
      await Promise.all([...watches].map((watch) => watch.end()));
    },
  };
}

function createWatch(
  { clock, logger, heartbeatMs = heartbeatMsDefault }: WatchesOptions,
  { environmentId, next, open, isAllowed }: WatchRequest,
  release: () => void,
): Watch {
  const response = open();
  let isReading = false;
  let isDue = false;
  let isEnded = false;
  let wasFull = false;
  let heartbeat: TimerHandle | undefined;

  async function end(): Promise<void> {
    if (isEnded) return;
    isEnded = true;
    heartbeat?.cancel();
    release();
    await finish(response);
  }

  function look(): void {
    isDue = true;
    // One that is full looks again when it has been drained.
    if (isReading || isEnded || response.writableNeedDrain) return;
    isReading = true;
    void readOn()
      .catch((error: unknown) => logger.debug({ err: error }, 'what is watched could not be read'))
      .finally(() => {
        isReading = false;
      });
  }

  async function readOn(): Promise<void> {
    while (isDue && !isEnded) {
      isDue = false;
      const text = await next();
      if (text === undefined || isEnded) continue;
      // There may be more behind it.
      isDue = true;
      if (!response.write(text)) return;
    }
  }

  function beat(): void {
    if (response.writableNeedDrain && wasFull) {
      response.destroy();
      void end();
      return;
    }
    wasFull = response.writableNeedDrain;
    if (!wasFull) response.write(': heartbeat\n\n');
    heartbeat = clock.setTimeout(beat, heartbeatMs);
    look();
    recheck();
  }

  // Postgres may be away: that is no reason to turn anybody out.
  function recheck(): void {
    void isAllowed().then(
      (allowed) => (allowed ? undefined : end()),
      () => undefined,
    );
  }

  response.once('close', () => void end());
  response.on('drain', () => {
    wasFull = false;
    look();
  });
  heartbeat = clock.setTimeout(beat, heartbeatMs);
  // Whoever has left by now is not told so again.
  if (response.closed || response.destroyed) void Promise.resolve().then(end);
  return { environmentId, look, recheck, end };
}

function tooManyWatches(): IronflowError {
  const message = `this environment has ${limits.watchesMax} watches here already: end one, or share one`;
  return new IronflowError('too_many', 'too_many_watches', message, { retryAfterSeconds: 5 });
}

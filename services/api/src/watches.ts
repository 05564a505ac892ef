/**
 * Live views of something that changes (live-stream.ts). Whoever opens one says who tells that there may be something new.
 * 1. It is listened to before the first is read, so nothing falls in between.
 * 2. Watches are bounded, those of one environment among them.
 */
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type { Metrics, Stoppable } from '@ironflow/service';
import { createLiveStream } from './live-stream.js';
import type { LiveStream, LiveStreamOptions, LiveStreamRequest } from './live-stream.js';
import { tooManyStreams } from './run-streams.js';

export interface WatchesOptions extends LiveStreamOptions {
  metrics: Metrics;
  streamsMax?: number;
}

export interface WatchRequest extends LiveStreamRequest {
  environmentId: string;
  /** Tells whenever something may be new; answers how that is stopped. */
  listen: (onChange: () => void) => () => void;
}

export interface Watches extends Stoppable {
  /** Throws, with nothing sent, when there is no room. */
  watch(request: WatchRequest): void;
  /** Ends what may not be seen any more of this environment's; its keys have changed. */
  recheck(environmentId: string): void;
  stop(): Promise<void>;
}

interface Watch extends LiveStream {
  environmentId: string;
}

const streamsMaxDefault = 1_000;

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
      const release = (): void => {
        stopListening();
        count(environmentId, -1);
        watches.delete(watch);
      };
      const watch: Watch = { environmentId, ...createLiveStream(options, request, release) };
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

function tooManyWatches(): IronflowError {
  const message = `this environment has ${limits.watchesMax} watches here already: end one, or share one`;
  return new IronflowError('too_many', 'too_many_watches', message, { retryAfterSeconds: 5 });
}

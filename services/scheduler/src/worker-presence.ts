/**
 * Which lanes of pull apps have a worker, as this scheduler sees it. Executors that hold sockets of workers put a key for each
 * into SYS_workers again and again; an entry counts for `ttlMs` after it was last seen, by our own clock, because a
 * watcher is not told of keys that expire.
 */
import type { LaneRef } from '@ironflow/database';
import type { Bucket } from '@ironflow/jetstream';
import { buckets, laneToken, parseLane, workerPresenceSchema } from '@ironflow/schema';
import type { Clock, Logger } from '@ironflow/service';

export interface WorkerPresenceOptions {
  bucket: Pick<Bucket, 'watch' | 'get'>;
  /** A lane that had no worker has one. */
  onFirstWorker: (lane: LaneRef) => void;
  clock: Clock;
  logger: Logger;
  ttlMs?: number;
}

export interface WorkerPresence {
  start(): Promise<void>;
  isPresent(lane: LaneRef): boolean;
  /** Of all workers of a lane, as far as executors have told. */
  slotsOf(lane: LaneRef): number;
  /** Forgets what has expired: bounds memory, decides nothing. */
  prune(): void;
  stop(): void;
}

/** Of one executor: it counts until then. */
interface Entry {
  slots: number;
  untilMs: number;
}

export function createWorkerPresence(options: WorkerPresenceOptions): WorkerPresence {
  const { bucket, clock, logger, ttlMs = buckets.SYS_workers.ttlMs } = options;
  /** By lane, then by the key of an executor's entry. */
  const lanes = new Map<string, Map<string, Entry>>();
  let stopWatching: (() => void) | undefined;

  const slotsOf = (lane: LaneRef): number => {
    let sum = 0;
    for (const { slots, untilMs } of lanes.get(laneKey(lane))?.values() ?? []) {
      if (untilMs > clock.now()) sum += slots;
    }
    return sum;
  };
  // An entry without slots is none.
  const isPresent = (lane: LaneRef): boolean => slotsOf(lane) > 0;
  const add = (lane: LaneRef, key: string, slots: number): void => {
    const wasPresent = isPresent(lane);
    const entries = lanes.get(laneKey(lane)) ?? new Map<string, Entry>();
    lanes.set(laneKey(lane), entries);
    entries.set(key, { slots, untilMs: clock.now() + ttlMs });
    if (!wasPresent) options.onFirstWorker(lane);
  };
  const remove = (key: string): void => {
    const [environmentId = '', token = ''] = key.split('.');
    const lane = parseLane(token);
    if (lane === undefined) return;
    const name = laneKey({ environmentId, ...lane });
    const entries = lanes.get(name);
    entries?.delete(key);
    if (entries?.size === 0) lanes.delete(name);
  };
  const look = async (key: string): Promise<void> => {
    try {
      const entry = await bucket.get(key);
      const parsed = entry && workerPresenceSchema.safeParse(JSON.parse(entry.value));
      if (parsed?.success === true && parsed.data.slots > 0) add(parsed.data, key, parsed.data.slots);
      else remove(key);
    } catch (error) {
      // It is put again within seconds.
      logger.warn({ err: error }, 'a worker presence entry cannot be read now');
    }
  };

  return {
    start: async () => {
      stopWatching = await bucket.watch((key) => void look(key));
    },
    isPresent,
    slotsOf,
    prune: () => {
      for (const [name, entries] of lanes) {
        for (const [key, { untilMs }] of entries) if (untilMs <= clock.now()) entries.delete(key);
        if (entries.size === 0) lanes.delete(name);
      }
    },
    stop: () => stopWatching?.(),
  };
}

export function laneKey({ environmentId, ...lane }: LaneRef): string {
  return `${environmentId}.${laneToken(lane)}`;
}

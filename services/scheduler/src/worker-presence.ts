/**
 * Which pull apps have a worker, as this scheduler sees it. Executors that hold sockets of an app's workers put a key
 * into SYS_workers again and again; an entry counts for `ttlMs` after it was last seen, by our own clock, because a
 * watcher is not told of keys that expire.
 */
import type { Bucket } from '@ironflow/jetstream';
import { buckets, workerPresenceSchema } from '@ironflow/schema';
import type { Clock, Logger } from '@ironflow/service';

export interface AppRef {
  environmentId: string;
  appId: string;
}

export interface WorkerPresenceOptions {
  bucket: Pick<Bucket, 'watch' | 'get'>;
  /** An app that had no worker has one. */
  onFirstWorker: (app: AppRef) => void;
  clock: Clock;
  logger: Logger;
  ttlMs?: number;
}

export interface WorkerPresence {
  start(): Promise<void>;
  isPresent(app: AppRef): boolean;
  /** Forgets what has expired: bounds memory, decides nothing. */
  prune(): void;
  stop(): void;
}

export function createWorkerPresence(options: WorkerPresenceOptions): WorkerPresence {
  const { bucket, clock, logger, ttlMs = buckets.SYS_workers.ttlMs } = options;
  /** By app, then by the key of an executor's entry: until when it counts. */
  const apps = new Map<string, Map<string, number>>();
  let stopWatching: (() => void) | undefined;

  const isPresent = (app: AppRef): boolean => {
    const entries = apps.get(appKey(app));
    if (entries === undefined) return false;
    for (const untilMs of entries.values()) if (untilMs > clock.now()) return true;
    return false;
  };
  const add = (app: AppRef, key: string): void => {
    const wasPresent = isPresent(app);
    const entries = apps.get(appKey(app)) ?? new Map<string, number>();
    apps.set(appKey(app), entries);
    entries.set(key, clock.now() + ttlMs);
    if (!wasPresent) options.onFirstWorker(app);
  };
  const remove = (key: string): void => {
    const [environmentId = '', appId = ''] = key.split('.');
    const name = appKey({ environmentId, appId });
    const entries = apps.get(name);
    entries?.delete(key);
    if (entries?.size === 0) apps.delete(name);
  };
  const look = async (key: string): Promise<void> => {
    try {
      const entry = await bucket.get(key);
      const parsed = entry && workerPresenceSchema.safeParse(JSON.parse(entry.value));
      if (parsed?.success === true && parsed.data.slots > 0) add(parsed.data, key);
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
    prune: () => {
      for (const [name, entries] of apps) {
        for (const [key, untilMs] of entries) if (untilMs <= clock.now()) entries.delete(key);
        if (entries.size === 0) apps.delete(name);
      }
    },
    stop: () => stopWatching?.(),
  };
}

function appKey({ environmentId, appId }: AppRef): string {
  return `${environmentId}.${appId}`;
}

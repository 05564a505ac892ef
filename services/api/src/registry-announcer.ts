/**
 * Tells services early that an environment's registry has changed, through SYS_functions. Nobody depends on it: who uses
 * a registry compares its version with Postgres. It is told again when the bucket was lost. One pass at a time; a
 * reconnect during a pass is followed by another one soon.
 */
import { listEnvironments } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import type { Bucket, JetStream } from '@ironflow/jetstream';
import type { Clock, Logger, Stoppable, TimerHandle } from '@ironflow/service';

export interface RegistryAnnouncerOptions {
  jetstream: Pick<JetStream, 'bucket' | 'connection'>;
  /** As ironflow_service: it looks at every environment's version. */
  database: Database;
  logger: Logger;
  clock: Clock;
  intervalMs?: number;
}

export interface RegistryAnnouncer extends Stoppable {
  start(): void;
  /** Never rejects. */
  announce(environmentId: string, version: number): Promise<void>;
}

const defaultIntervalMs = 60_000;
/** After a pass that failed, and after a reconnect: NATS may have come back empty. */
const soonMs = 1_000;
/** In one pass; the rest follows in the next ones. */
const putsMax = 1_000;
const concurrentPuts = 16;

export function createRegistryAnnouncer(options: RegistryAnnouncerOptions): RegistryAnnouncer {
  const { clock, logger } = options;
  const bucket: Bucket = options.jetstream.bucket('SYS_functions');
  /** What is known to be in the bucket, so that a pass reads no key twice. */
  const announced = new Map<string, number>();
  let timer: TimerHandle | undefined;
  let passing: Promise<void> = Promise.resolve();
  let stopListening: (() => void) | undefined;
  let isPassing = false;
  let isDueSoon = false;
  let isStopped = false;

  async function put(environmentId: string, version: number): Promise<void> {
    await bucket.put(environmentId, JSON.stringify({ version }));
    announced.set(environmentId, Math.max(version, announced.get(environmentId) ?? 0));
  }

  async function pass(): Promise<void> {
    const environments = await listEnvironments(options.database);
    const present = new Set(await bucket.keys());
    const due = environments
      .map(({ scope, registryVersion }) => ({ id: scope.environmentId, version: registryVersion }))
      .filter(({ id, version }) => version > 0 && (!present.has(id) || (announced.get(id) ?? 0) < version))
      .slice(0, putsMax);
    for (let first = 0; first < due.length && !isStopped; first += concurrentPuts) {
      const together = due.slice(first, first + concurrentPuts);
      await Promise.all(together.map(({ id, version }) => put(id, version)));
    }
  }

  /** Puts what is missing or older, of all environments. */
  async function announceAll(): Promise<void> {
    isPassing = true;
    isDueSoon = false;
    try {
      await pass();
    } catch (error) {
      isDueSoon = true;
      logger.warn({ err: error }, 'registries could not be announced; the next pass will');
    }
    isPassing = false;
    schedule(isDueSoon ? soonMs : (options.intervalMs ?? defaultIntervalMs));
  }

  function onReconnect(): void {
    if (isPassing) isDueSoon = true;
    else schedule(soonMs);
  }

  function schedule(delayMs: number): void {
    if (isStopped) return;
    timer?.cancel();
    timer = clock.setTimeout(() => {
      passing = announceAll();
    }, delayMs);
  }

  return {
    announce: async (environmentId, version) => {
      try {
        await put(environmentId, version);
      } catch (error) {
        logger.warn({ err: error }, 'a registration could not be announced; the next pass will');
      }
    },
    start: () => {
      stopListening = options.jetstream.connection.onReconnect(onReconnect);
      passing = announceAll();
    },
    stop: async () => {
      isStopped = true;
      stopListening?.();
      timer?.cancel();
      await passing;
    },
  };
}

/**
 * The API keys that a service is sent: authenticates them, hears at once when those of an environment change, and writes down when
 * they were used.
 * 1. What is known of a key is trusted for ten seconds, or until a notice says that keys of its environment have changed. A notice
 *    may be lost: then it is the ten seconds.
 * 2. Whoever goes on for long under a key (streams, workers) asks again when `onChange` tells of its environment, and now and then.
 * 3. A key's use is written once a minute at most, those of all environments together. What cannot be written is left out: it says
 *    for people when a key was of use, and nothing depends on it.
 */
import { createAuthenticator, recordKeyUse } from '@ironflow/database';
import type { Database, RememberingAuthenticator, Secrets } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import { systemClock } from './clock.js';
import type { Clock, TimerHandle } from './clock.js';
import type { Stoppable } from './lifecycle.js';
import type { Logger } from './logger.js';

export interface KeyAccessOptions {
  database: Database;
  secrets: Secrets;
  notices: Pick<Notices, 'onAccess'>;
  logger: Logger;
  clock?: Clock;
  /** Of what is known of keys; milliseconds of a clock that never goes back. */
  elapsedMs?: (() => number) | undefined;
}

export interface KeyAccess extends Stoppable {
  authenticator: RememberingAuthenticator;
  start(): void;
  /** Tells the environment whose keys may be others now, after they are read again. */
  onChange(listener: (environmentId: string) => void): void;
  stop(): Promise<void>;
}

const writeIntervalMs = 60_000;
/** Of one statement. */
const keysMax = 10_000;

export function createKeyAccess(options: KeyAccessOptions): KeyAccess {
  const { database, logger, clock = systemClock, elapsedMs } = options;
  const inner = createAuthenticator(database, options.secrets, elapsedMs === undefined ? {} : { elapsedMs });
  const listeners: ((environmentId: string) => void)[] = [];
  const used = new Set<string>();
  let stopListening = (): void => undefined;
  let timer: TimerHandle | undefined;
  let writing: Promise<void> = Promise.resolve();
  let isStopped = false;

  const write = async (): Promise<void> => {
    timer = undefined;
    const keyIds = [...used];
    used.clear();
    if (keyIds.length === 0) return;
    await recordKeyUse(database, keyIds).catch((error: unknown) =>
      logger.debug({ reason: messageOf(error) }, 'when keys were used cannot be written now'),
    );
  };
  const note = (keyId: string): void => {
    if (isStopped || used.size >= keysMax) return;
    used.add(keyId);
    timer ??= clock.setTimeout(() => void (writing = write()), writeIntervalMs);
  };
  return {
    authenticator: {
      authenticate: async (apiKey) => {
        const principal = await inner.authenticate(apiKey);
        if (principal !== undefined) note(principal.keyId);
        return principal;
      },
      forget: (environmentId) => inner.forget(environmentId),
    },
    start: () => {
      stopListening = options.notices.onAccess(({ environmentId }) => {
        inner.forget(environmentId);
        for (const listener of listeners) listener(environmentId);
      });
    },
    onChange: (listener) => void listeners.push(listener),
    stop: async () => {
      if (isStopped) return;
      isStopped = true;
      stopListening();
      timer?.cancel();
      await writing;
      await write();
    },
  };
}

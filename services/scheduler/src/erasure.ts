/**
 * Environments that were deleted, erased: what is in NATS, then what is in Postgres, then what came into NATS meanwhile. All of it can
 * be done twice; a pass that ends early is gone on with by the next one.
 */
import type { ErasureStore } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Scope } from '@ironflow/schema';
import type { Logger } from '@ironflow/service';

export interface ErasureOptions {
  store: ErasureStore;
  /** Removes every message and entry of an environment from NATS. */
  purge: (scope: Scope) => Promise<void>;
  logger: Logger;
}

export interface Erasure {
  /** One that cannot be erased now is tried again by the next pass, and keeps no other. */
  runOnce(isStopped: () => boolean): Promise<void>;
}

/** In one pass; there is another one within the hour. */
const environmentsMax = 20;

export function createErasure({ store, purge, logger }: ErasureOptions): Erasure {
  const eraseOne = async (scope: Scope, isStopped: () => boolean): Promise<void> => {
    const { environmentId, project, env } = scope;
    await purge(scope);
    if (!(await store.erase(environmentId, isStopped))) return;
    await purge(scope);
    await store.markErased(environmentId);
    logger.info({ project, env }, 'an environment was erased: its grace had ended');
  };
  return {
    runOnce: async (isStopped) => {
      for (const scope of await store.due(environmentsMax)) {
        if (isStopped()) return;
        const { project, env } = scope;
        await eraseOne(scope, isStopped).catch((error: unknown) =>
          logger.warn({ project, env, reason: messageOf(error) }, 'an environment cannot be erased now'),
        );
      }
    },
  };
}

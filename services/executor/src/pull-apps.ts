/**
 * The pull apps whose workers this executor holds. Each has a consumer of its own, from which it pulls as many
 * activations as its workers have free slots; while there is a worker, its presence is told in SYS_workers.
 */
import { messageOf } from '@ironflow/errors';
import { pullConsumer, subjects, workerPresenceKey } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import type { Bucket, Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import type { Logger } from '@ironflow/service';
import type { WorkerConnection } from './worker-connection.js';

export interface PullAppsOptions {
  executor: string;
  jetstream: Pick<JetStream, 'consume' | 'provisioner'>;
  presence: Bucket;
  logger: Logger;
  /** Drives one delivered activation to its end; a worker for it is picked as late as possible. */
  drive: (delivery: Delivery, pick: () => WorkerConnection | undefined) => Promise<void>;
}

export interface PullApps {
  join(app: AppKey, connection: WorkerConnection): void;
  leave(app: AppKey, connection: WorkerConnection): void;
  /** A connection's free slots have changed. */
  changed(app: AppKey): void;
  /** Stops pulling; what is active goes on. */
  stop(): Promise<void>;
}

export interface AppKey {
  scope: Scope;
  appId: string;
}

interface PullApp extends AppKey {
  connections: Set<WorkerConnection>;
  consumer: PullConsumer;
  /** Delivered and not yet with a worker. */
  arriving: number;
}

/** Three heartbeats within the bucket's time to live. */
const heartbeatMs = 5_000;

export function createPullApps(options: PullAppsOptions): PullApps {
  const apps = new Map<string, PullApp>();
  const keyOf = ({ scope, appId }: AppKey): string =>
    workerPresenceKey({ environmentId: scope.environmentId, appId, executor: options.executor });
  const tellPresence = (app: PullApp): void => {
    const { environmentId } = app.scope;
    const slots = [...app.connections].reduce((sum, connection) => sum + connection.freeSlots(), 0);
    const presence = { environmentId, appId: app.appId, executor: options.executor, slots };
    options.presence
      .put(keyOf(app), JSON.stringify(presence))
      .catch((error: unknown) =>
        options.logger.warn({ reason: messageOf(error) }, 'presence cannot be told'),
      );
  };
  const open = (key: AppKey): PullApp => {
    const definition = pullConsumer({
      environmentId: key.scope.environmentId,
      appId: key.appId,
      filterSubject: subjects.pullActivationsOf(key.scope, key.appId),
    });
    const app: PullApp = {
      ...key,
      connections: new Set(),
      arriving: 0,
      consumer: options.jetstream.consume(definition, {
        capacity: () => freeSlots(app) - app.arriving,
        onDelivery: (delivery) => void take(app, delivery),
      }),
    };
    return app;
  };
  const take = async (app: PullApp, delivery: Delivery): Promise<void> => {
    app.arriving += 1;
    let arrived = false;
    const arrive = (): void => {
      if (!arrived) app.arriving -= 1;
      arrived = true;
    };
    try {
      await options.drive(delivery, () => {
        arrive();
        return leastBusy(app);
      });
    } catch (error) {
      options.logger.error(
        { reason: messageOf(error) },
        'an activation failed in this executor; it comes again',
      );
    } finally {
      arrive();
      app.consumer.wake();
    }
  };
  const heartbeat = setInterval(() => {
    for (const app of apps.values()) tellPresence(app);
  }, heartbeatMs).unref();

  return {
    join: (key, connection) => {
      const id = keyOf(key);
      const app = apps.get(id) ?? open(key);
      apps.set(id, app);
      app.connections.add(connection);
      tellPresence(app);
      app.consumer.wake();
    },
    leave: (key, connection) => {
      const id = keyOf(key);
      const app = apps.get(id);
      if (app === undefined || !app.connections.delete(connection) || app.connections.size > 0) return;
      apps.delete(id);
      app.consumer.stop();
      options.presence.delete(id).catch(() => undefined); // Otherwise it expires by itself.
    },
    changed: (key) => apps.get(keyOf(key))?.consumer.wake(),
    stop: async () => {
      clearInterval(heartbeat);
      const gone = [...apps.keys()];
      for (const app of apps.values()) app.consumer.stop();
      apps.clear();
      await Promise.all(gone.map((id) => options.presence.delete(id).catch(() => undefined)));
    },
  };
}

function freeSlots(app: PullApp): number {
  let free = 0;
  for (const connection of app.connections) free += connection.freeSlots();
  return free;
}

function leastBusy(app: PullApp): WorkerConnection | undefined {
  let best: WorkerConnection | undefined;
  for (const connection of app.connections) {
    if (connection.freeSlots() > (best?.freeSlots() ?? 0)) best = connection;
  }
  return best;
}

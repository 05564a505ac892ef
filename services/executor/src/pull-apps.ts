/**
 * The pull apps whose workers this executor holds. Each has a consumer of its own, from which it pulls as many
 * activations as its workers have free slots; while there is a worker, its presence is told in SYS_workers.
 */
import { messageOf } from '@ironflow/errors';
import { pullConsumer, subjects, workerPresenceKey } from '@ironflow/schema';
import type { ConsumerDefinition, Scope } from '@ironflow/schema';
import type { Bucket, Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { childLogger } from '@ironflow/service';
import type { Logger } from '@ironflow/service';
import type { Workers } from './pull-driver.js';
import type { WorkerConnection } from './worker-connection.js';

export interface PullAppsOptions {
  executor: string;
  jetstream: Pick<JetStream, 'consume' | 'provisioner'>;
  presence: Bucket;
  logger: Logger;
  /** Drives one delivered activation to its end, and never rejects; a worker for it is picked as late as possible. */
  drive: (delivery: Delivery, workers: Workers) => Promise<void>;
}

export interface PullApps {
  join(app: AppKey, connection: WorkerConnection): void;
  leave(app: AppKey, connection: WorkerConnection): void;
  /** A connection's slots, or those that are free, have changed. */
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
  /** The slots that were told last. */
  toldSlots: number | undefined;
}

/** Three heartbeats within the bucket's time to live. */
const heartbeatMs = 5_000;

export function createPullApps(options: PullAppsOptions): PullApps {
  const apps = new Map<string, PullApp>();
  const keyOf = ({ scope, appId }: AppKey): string =>
    workerPresenceKey({ environmentId: scope.environmentId, appId, executor: options.executor });
  const tellPresence = (app: PullApp): void => {
    const { environmentId, project, env } = app.scope;
    const slots = slotsOf(app);
    app.toldSlots = slots;
    const presence = { environmentId, appId: app.appId, executor: options.executor, slots };
    options.presence
      .put(keyOf(app), JSON.stringify(presence))
      .catch((error: unknown) =>
        childLogger(options.logger, { project, env }).warn(
          { appId: app.appId, reason: messageOf(error) },
          'presence cannot be told',
        ),
      );
  };
  const slotsChanged = (app: PullApp): void => {
    if (slotsOf(app) !== app.toldSlots) tellPresence(app);
    app.consumer.wake();
  };
  const open = (key: AppKey): PullApp => {
    const app: PullApp = {
      ...key,
      connections: new Set(),
      arriving: 0,
      toldSlots: undefined,
      consumer: options.jetstream.consume(definitionOf(key), {
        capacity: () => freeSlots(app) - app.arriving,
        onDelivery: (delivery) => void take(options, app, delivery),
      }),
    };
    return app;
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
      slotsChanged(app);
    },
    leave: (key, connection) => {
      const id = keyOf(key);
      const app = apps.get(id);
      if (app === undefined || !app.connections.delete(connection)) return;
      if (app.connections.size > 0) return slotsChanged(app);
      apps.delete(id);
      app.consumer.stop();
      options.presence.delete(id).catch(() => undefined); // Otherwise it expires by itself.
    },
    changed: (key) => {
      const app = apps.get(keyOf(key));
      if (app !== undefined) slotsChanged(app);
    },
    stop: async () => {
      clearInterval(heartbeat);
      const gone = [...apps.keys()];
      for (const app of apps.values()) app.consumer.stop();
      apps.clear();
      await Promise.all(gone.map((id) => options.presence.delete(id).catch(() => undefined)));
    },
  };
}

function definitionOf({ scope, appId }: AppKey): ConsumerDefinition {
  const filterSubject = subjects.pullActivationsOf(scope, appId);
  return pullConsumer({ environmentId: scope.environmentId, appId, filterSubject });
}

async function take({ drive }: PullAppsOptions, app: PullApp, delivery: Delivery): Promise<void> {
  app.arriving += 1;
  let arrived = false;
  const arrive = (): void => {
    if (!arrived) app.arriving -= 1;
    arrived = true;
  };
  await drive(delivery, {
    haveRoom: () => leastBusy(app) !== undefined,
    pick: () => {
      arrive();
      return leastBusy(app);
    },
  });
  arrive();
  app.consumer.wake();
}

function slotsOf(app: PullApp): number {
  let slots = 0;
  for (const connection of app.connections) slots += connection.slots();
  return slots;
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

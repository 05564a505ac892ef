/**
 * The lanes of pull apps that workers of this executor serve: each worker that of its app, and that of its build if it has
 * one. A lane has a consumer of its own, from which it pulls as many activations as its workers have free slots; while there
 * is a worker, its presence is told in SYS_workers. Lanes share slots: what both have pulled for one is handed back by one.
 */
import { messageOf } from '@ironflow/errors';
import { pullConsumer, subjects, workerPresenceKey } from '@ironflow/schema';
import type { ConsumerDefinition, Lane, Scope } from '@ironflow/schema';
import type { Bucket, Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { childLogger } from '@ironflow/service';
import type { Logger } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';
import type { Workers } from './pull-driver.js';
import type { WorkerConnection } from './worker-connection.js';

export interface PullLanesOptions {
  executor: string;
  jetstream: Pick<JetStream, 'consume' | 'provisioner'>;
  presence: Bucket;
  logger: Logger;
  /** Drives one delivered activation to its end, and never rejects; a worker for it is picked as late as possible. */
  drive: (delivery: Delivery, workers: Workers) => Promise<void>;
}

export interface PullLanes {
  join(lane: LaneKey, connection: WorkerConnection): void;
  leave(lane: LaneKey, connection: WorkerConnection): void;
  /** A connection's slots, or those that are free, have changed. */
  changed(lane: LaneKey): void;
  /** Stops pulling; what is active goes on. */
  stop(): Promise<void>;
}

export interface LaneKey extends Lane {
  scope: Scope;
}

interface PullLane extends LaneKey {
  connections: Set<WorkerConnection>;
  consumer: PullConsumer;
  /** Delivered and not yet with a worker. */
  arriving: number;
  /** The slots that were told last. */
  toldSlots: number | undefined;
}

/** Three heartbeats within the bucket's time to live. */
const heartbeatMs = 5_000;

export function createPullLanes(options: PullLanesOptions): PullLanes {
  const lanes = new Map<string, PullLane>();
  const keyOf = (key: LaneKey): string => workerPresenceKey({ ...placeOf(key), executor: options.executor });
  const tellPresence = (lane: PullLane): void => {
    const { project, env } = lane.scope;
    const slots = slotsOf(lane);
    lane.toldSlots = slots;
    const presence = { ...placeOf(lane), executor: options.executor, slots };
    options.presence
      .put(keyOf(lane), JSON.stringify(presence))
      .catch((error: unknown) =>
        childLogger(options.logger, { project, env }).warn(
          { appId: lane.appId, reason: messageOf(error) },
          'presence cannot be told',
        ),
      );
  };
  const slotsChanged = (lane: PullLane): void => {
    if (slotsOf(lane) !== lane.toldSlots) tellPresence(lane);
    lane.consumer.wake();
  };
  const open = (key: LaneKey): PullLane => {
    const lane: PullLane = {
      ...key,
      connections: new Set(),
      arriving: 0,
      toldSlots: undefined,
      consumer: options.jetstream.consume(definitionOf(key), {
        capacity: () => freeSlots(lane) - lane.arriving,
        onDelivery: (delivery) => void take(options, lane, delivery),
      }),
    };
    return lane;
  };
  const heartbeat = setInterval(() => {
    for (const lane of lanes.values()) tellPresence(lane);
  }, heartbeatMs).unref();

  return {
    join: (key, connection) => {
      const id = keyOf(key);
      const lane = lanes.get(id) ?? open(key);
      lanes.set(id, lane);
      lane.connections.add(connection);
      slotsChanged(lane);
    },
    leave: (key, connection) => {
      const id = keyOf(key);
      const lane = lanes.get(id);
      if (lane === undefined || !lane.connections.delete(connection)) return;
      if (lane.connections.size > 0) return slotsChanged(lane);
      lanes.delete(id);
      lane.consumer.stop();
      options.presence.delete(id).catch(() => undefined); // Otherwise it expires by itself.
    },
    changed: (key) => {
      const lane = lanes.get(keyOf(key));
      if (lane !== undefined) slotsChanged(lane);
    },
    stop: async () => {
      clearInterval(heartbeat);
      const gone = [...lanes.keys()];
      for (const lane of lanes.values()) lane.consumer.stop();
      lanes.clear();
      await Promise.all(gone.map((id) => options.presence.delete(id).catch(() => undefined)));
    },
  };
}

function placeOf({ scope, appId, buildId }: LaneKey): { environmentId: string } & Lane {
  return { environmentId: scope.environmentId, appId, ...(buildId === undefined ? {} : { buildId }) };
}

function definitionOf(key: LaneKey): ConsumerDefinition {
  const { environmentId, ...lane } = placeOf(key);
  return pullConsumer({ environmentId, lane, filterSubject: subjects.pullActivationsOf(key.scope, lane) });
}

async function take({ drive }: PullLanesOptions, lane: PullLane, delivery: Delivery): Promise<void> {
  lane.arriving += 1;
  let arrived = false;
  const arrive = (): void => {
    if (!arrived) lane.arriving -= 1;
    arrived = true;
  };
  await drive(delivery, {
    areThere: ({ buildId }) => [...lane.connections].some((one) => one.buildId === buildId),
    haveRoom: (run) => leastBusy(lane, run) !== undefined,
    pick: (run) => {
      arrive();
      return leastBusy(lane, run);
    },
  });
  arrive();
  lane.consumer.wake();
}

function slotsOf(lane: PullLane): number {
  let slots = 0;
  for (const connection of lane.connections) slots += connection.slots();
  return slots;
}

function freeSlots(lane: PullLane): number {
  let free = 0;
  for (const connection of lane.connections) free += connection.freeSlots();
  return free;
}

function leastBusy(lane: PullLane, { buildId }: ActiveRun): WorkerConnection | undefined {
  let best: WorkerConnection | undefined;
  for (const connection of lane.connections) {
    if (buildId !== undefined && connection.buildId !== buildId) continue;
    if (connection.freeSlots() > (best?.freeSlots() ?? 0)) best = connection;
  }
  return best;
}

/**
 * The lanes of pull apps that workers of this executor serve: each worker that of its app, and that of its build if it has
 * one. A lane has a consumer of its own, from which it pulls as many activations as its workers have free slots; while there
 * is a worker, its presence is told in SYS_workers.
 *
 * Lanes share the slots of a worker, so what is delivered reserves one at once, and keeps it until its run is with the worker
 * or needs none. What both lanes of a worker have asked for and comes second is put back by the consumer, unread.
 */
import { messageOf } from '@ironflow/errors';
import { idleLaneKeptMs, limits, pullConsumer, subjects, workerPresenceKey } from '@ironflow/schema';
import type { ConsumerDefinition, Lane, Scope } from '@ironflow/schema';
import type { Bucket, Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { childLogger } from '@ironflow/service';
import type { Logger } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';
import type { LoadBound, LoadShare } from './load-bound.js';
import type { Workers } from './pull-driver.js';
import { createRecentBuilds } from './recent-builds.js';
import type { WorkerConnection } from './worker-connection.js';

export interface PullLanesOptions {
  executor: string;
  jetstream: Pick<JetStream, 'consume' | 'provisioner'>;
  presence: Bucket;
  load: Pick<LoadBound, 'join'>;
  logger: Logger;
  /** Drives one delivered activation to its end, and never rejects; a worker for it is picked as late as possible. */
  drive: (delivery: Delivery, workers: Workers) => Promise<void>;
}

export interface PullLanes {
  /** Whether its app may have one more lane, if it is none that there is. */
  admits(lane: LaneKey): boolean;
  /** Of one that serves several, the lane that is named first pulls first. */
  join(lanes: LaneKey[], connection: WorkerConnection): void;
  leave(connection: WorkerConnection): void;
  /** A connection's slots, or those that are free, have changed. */
  changed(connection: WorkerConnection): void;
  /** Stops pulling; what is active goes on. */
  stop(): Promise<void>;
}

export interface LaneKey extends Lane {
  scope: Scope;
}

interface PullLane extends LaneKey {
  members: Set<Member>;
  consumer: PullConsumer;
  load: LoadShare;
  /** The slots that were told last. */
  toldSlots: number | undefined;
}

/** A worker, in all its lanes. */
interface Member {
  connection: WorkerConnection;
  lanes: PullLane[];
  /** Slots for what was delivered on any of its lanes and is not with it yet. */
  reserved: number;
}

/** Three heartbeats within the bucket's time to live. */
const heartbeatMs = 5_000;

export function createPullLanes(options: PullLanesOptions): PullLanes {
  const lanes = new Map<string, PullLane>();
  const members = new Map<WorkerConnection, Member>();
  const recent = createRecentBuilds({
    buildsMax: limits.buildsPerAppMax,
    keptMs: idleLaneKeptMs,
    nowMs: () => performance.now(),
  });
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
    const load = options.load.join(() => lane.consumer.wake());
    const lane: PullLane = {
      ...key,
      members: new Set(),
      toldSlots: undefined,
      load,
      consumer: options.jetstream.consume(definitionOf(key), {
        capacity: () => freeSlots(lane),
        wanted: () => load.room(),
        onDelivery: (delivery) => void take(options, lane, delivery),
      }),
    };
    lanes.set(keyOf(key), lane);
    recent.opened(key);
    return lane;
  };
  const close = (lane: PullLane): void => {
    const id = keyOf(lane);
    lanes.delete(id);
    recent.closed(lane);
    lane.consumer.stop();
    lane.load.leave();
    options.presence.delete(id).catch(() => undefined); // Otherwise it expires by itself.
  };
  const heartbeat = setInterval(() => {
    for (const lane of lanes.values()) tellPresence(lane);
  }, heartbeatMs).unref();

  return {
    admits: (key) => recent.admits(key),
    join: (keys, connection) => {
      const member = {
        connection,
        lanes: keys.map((key) => lanes.get(keyOf(key)) ?? open(key)),
        reserved: 0,
      };
      members.set(connection, member);
      for (const lane of member.lanes) {
        lane.members.add(member);
        slotsChanged(lane);
      }
    },
    leave: (connection) => {
      const member = members.get(connection);
      members.delete(connection);
      for (const lane of member?.lanes ?? []) {
        lane.members.delete(member!);
        if (lane.members.size > 0) slotsChanged(lane);
        else close(lane);
      }
    },
    changed: (connection) => members.get(connection)?.lanes.forEach(slotsChanged),
    stop: async () => {
      clearInterval(heartbeat);
      const gone = [...lanes.keys()];
      for (const lane of lanes.values()) lane.consumer.stop();
      lanes.clear();
      members.clear();
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
  let reserved = reserve(leastBusy(lane));
  const has = (run: ActiveRun): boolean =>
    reserved !== undefined && lane.members.has(reserved) && isOf(reserved, run) && room(reserved) >= 0;
  const release = (): Member | undefined => {
    const released = reserved;
    if (released !== undefined) released.reserved -= 1;
    reserved = undefined;
    return released;
  };
  const giveUp = (): void => {
    for (const { consumer } of release()?.lanes ?? []) consumer.wake();
  };
  const reserveFor = (run: ActiveRun): boolean => {
    if (has(run)) return true;
    giveUp();
    reserved = reserve(leastBusy(lane, run));
    return reserved !== undefined;
  };
  lane.load.began();
  await drive(delivery, {
    areThere: ({ buildId }) => [...lane.members].some(({ connection }) => connection.buildId === buildId),
    reserve: reserveFor,
    pick: (run) => {
      reserveFor(run);
      return release()?.connection;
    },
  });
  lane.load.ended();
  giveUp();
  lane.consumer.wake();
}

function reserve(member: Member | undefined): Member | undefined {
  if (member !== undefined) member.reserved += 1;
  return member;
}

function slotsOf(lane: PullLane): number {
  let slots = 0;
  for (const { connection } of lane.members) slots += connection.slots();
  return slots;
}

function freeSlots(lane: PullLane): number {
  let free = 0;
  for (const member of lane.members) free += Math.max(0, room(member));
  return free;
}

/** Below zero when a worker with reserved slots drains, or does not read. */
function room({ connection, reserved }: Member): number {
  return connection.freeSlots() - reserved;
}

function isOf({ connection }: Member, { buildId }: ActiveRun): boolean {
  return buildId === undefined || connection.buildId === buildId;
}

function leastBusy(lane: PullLane, run?: ActiveRun): Member | undefined {
  let best: Member | undefined;
  let most = 0;
  for (const member of lane.members) {
    if (run !== undefined && !isOf(member, run)) continue;
    const free = room(member);
    if (free > most) [best, most] = [member, free];
  }
  return best;
}

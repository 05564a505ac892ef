/**
 * What one more executor would help with. Pure.
 *
 * Push activations can be driven by any executor, so all that wait count, those on lanes of floods as well. A pull activation
 * is driven on the socket of a worker, and workers stay with the executor that they are connected to: those that wait because
 * all slots of their app are taken, or because it has no worker, need workers and not executors. Those that wait although a
 * worker would have room wait for the executor that holds its socket, whose event loop is busy: another one takes its other
 * calls off it.
 */
import type { LaneRef } from '@ironflow/database';
import type { NamedConsumerState } from '@ironflow/jetstream';
import { consumerKindOf, parsePullConsumer } from '@ironflow/schema';

/** Slots of all workers of a lane, taken or not. */
type SlotsOf = (lane: LaneRef) => number;

/** `consumers`: all those of STEPS. */
export function executorBacklog(
  consumers: readonly NamedConsumerState[],
  slotsOf: SlotsOf,
): { backlog: number; active: number } {
  let backlog = 0;
  let active = 0;
  const apps = new Map<string, AppBacklog>();
  for (const { durable, pending, ackPending } of consumers) {
    active += ackPending;
    const lane = parsePullConsumer(durable);
    if (lane !== undefined) addLane(apps, lane, { pending, ackPending, slots: slotsOf(lane) });
    else if (consumerKindOf(durable) !== 'pull') backlog += pending;
  }
  for (const { environmentId, appId, served, taken } of apps.values()) {
    // Every worker serves the lane of its app, whichever others it serves: their slots are the same ones.
    const free = Math.max(0, slotsOf({ environmentId, appId }) - taken);
    backlog += Math.min(served, free);
  }
  return { backlog, active };
}

interface AppBacklog {
  environmentId: string;
  appId: string;
  /** What waits on lanes that have workers, no more of each than those take. */
  served: number;
  /** Slots, by activations of any of its lanes. */
  taken: number;
}

function addLane(
  apps: Map<string, AppBacklog>,
  { environmentId, appId }: LaneRef,
  { pending, ackPending, slots }: Pick<NamedConsumerState, 'pending' | 'ackPending'> & { slots: number },
): void {
  const key = `${environmentId}.${appId}`;
  const app = apps.get(key) ?? { environmentId, appId, served: 0, taken: 0 };
  apps.set(key, app);
  app.served += Math.min(pending, slots);
  app.taken += ackPending;
}

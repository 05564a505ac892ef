/**
 * The consumers of push activations: one for all environments, and one for each environment with a flood, of which schedulers say so
 * again and again while they publish there. Together they take as many as the executor may have calls open, of which floods leave some to
 * all others, however long their calls are.
 */
import type { Delivery, JetStream } from '@ironflow/jetstream';
import { bulkConsumer, consumers, subjects } from '@ironflow/schema';
import type { ConsumerDefinition, Scope } from '@ironflow/schema';
import { createFloodLanes, turnEveryMs } from './flood-lanes.js';
import type { FloodLane } from './flood-lanes.js';
import type { LoadBound } from './load-bound.js';

export interface PushIntakeOptions {
  jetstream: Pick<JetStream, 'consume' | 'notices'>;
  concurrency: number;
  load: Pick<LoadBound, 'join'>;
  nowMs: () => number;
  /** Drives one delivered activation to its end, and never rejects. */
  drive: (delivery: Delivery) => Promise<void>;
}

export interface PushIntake {
  start(): void;
  /** Takes nothing new; what is active goes on. */
  stop(): void;
}

/** Of the calls. */
const shareLeft = 1 / 8;
/** Each has a request open. */
const lanesMax = 256;
/** Schedulers use lanes as long as they hear of an executor that knows of them. */
const presenceEveryMs = 5_000;

export function createPushIntake(options: PushIntakeOptions): PushIntake {
  let active = 0;
  let undo: (() => void)[] = [];

  const open = (definition: ConsumerDefinition, callsMax: number, onHeard?: () => void): FloodLane => {
    let activeHere = 0;
    const share = options.load.join(() => consumer.wake());
    const take = async (delivery: Delivery): Promise<void> => {
      active += 1;
      activeHere += 1;
      onHeard?.();
      share.began();
      await options.drive(delivery);
      active -= 1;
      activeHere -= 1;
      share.ended();
      consumer.wake();
    };
    const consumer = options.jetstream.consume(definition, {
      capacity: () => callsMax - active,
      wanted: () => share.room(),
      onDelivery: (delivery) => void take(delivery),
    });
    const stop = (): void => {
      share.leave();
      consumer.stop();
    };
    return { active: () => activeHere, stop };
  };
  const openBulk = (scope: Scope, onHeard: () => void): FloodLane => {
    const filterSubject = subjects.bulkActivationsOf(scope);
    const definition = bulkConsumer({ environmentId: scope.environmentId, filterSubject });
    const callsMax = options.concurrency - Math.floor(options.concurrency * shareLeft);
    return open(definition, callsMax, onHeard);
  };
  const floods = createFloodLanes({ lanesMax, open: openBulk, nowMs: options.nowMs });

  return {
    start: () => {
      const all = open(consumers.pushExecutor, options.concurrency);
      const turns = setInterval(() => floods.takeTurns(), turnEveryMs).unref();
      const tellPresence = (): void => options.jetstream.notices.publishExecutor();
      const presence = setInterval(tellPresence, presenceEveryMs).unref();
      tellPresence();
      undo = [
        () => clearInterval(presence),
        () => all.stop(),
        options.jetstream.notices.onBulk(({ scope }) => floods.tell(scope)),
        () => clearInterval(turns),
        () => floods.stop(),
      ];
    },
    stop: () => {
      for (const step of undo) step();
    },
  };
}

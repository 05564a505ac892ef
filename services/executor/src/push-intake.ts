/**
 * The consumers of push activations: one for all environments, and one for each environment with a flood, of which schedulers say so
 * again and again while they publish there. Together they take as many as the executor may have calls open, of which floods leave some to
 * all others, however long their calls are.
 */
import type { Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { bulkConsumer, consumers, subjects } from '@ironflow/schema';
import type { ConsumerDefinition, Scope } from '@ironflow/schema';
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

interface Lane {
  consumer: PullConsumer;
  active: number;
  /** When something was delivered, or said to be there. */
  heardAtMs: number;
}

/** Of the calls. */
const shareLeft = 1 / 8;
/** Each has a request open: those beyond wait for one that is done with. */
const lanesMax = 256;
const idleLaneMs = 30_000;
/** Schedulers use lanes as long as they hear of an executor that knows of them. */
const presenceEveryMs = 5_000;

export function createPushIntake(options: PushIntakeOptions): PushIntake {
  const { nowMs } = options;
  const lanes = new Map<string, Lane>();
  let active = 0;
  let undo: (() => void)[] = [];

  const open = (definition: ConsumerDefinition, callsMax: number): Lane => {
    const share = options.load.join(() => lane.consumer.wake());
    const take = async (delivery: Delivery): Promise<void> => {
      active += 1;
      lane.active += 1;
      lane.heardAtMs = nowMs();
      share.began();
      await options.drive(delivery);
      active -= 1;
      lane.active -= 1;
      share.ended();
      lane.consumer.wake();
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
    const lane: Lane = { consumer: { wake: () => consumer.wake(), stop }, active: 0, heardAtMs: nowMs() };
    return lane;
  };
  const openBulk = (scope: Scope): void => {
    const { environmentId } = scope;
    const known = lanes.get(environmentId);
    if (known !== undefined) known.heardAtMs = nowMs();
    else if (lanes.size < lanesMax) {
      const filterSubject = subjects.bulkActivationsOf(scope);
      const callsMax = options.concurrency - Math.floor(options.concurrency * shareLeft);
      lanes.set(environmentId, open(bulkConsumer({ environmentId, filterSubject }), callsMax));
    }
  };
  const closeIdle = (): void => {
    for (const [environmentId, { consumer, active: busy, heardAtMs }] of lanes) {
      if (busy > 0 || nowMs() - heardAtMs < idleLaneMs) continue;
      consumer.stop();
      lanes.delete(environmentId);
    }
  };

  return {
    start: () => {
      const all = open(consumers.pushExecutor, options.concurrency);
      const timer = setInterval(closeIdle, idleLaneMs / 2).unref();
      const tellPresence = (): void => options.jetstream.notices.publishExecutor();
      const presence = setInterval(tellPresence, presenceEveryMs).unref();
      tellPresence();
      undo = [
        () => clearInterval(presence),
        () => all.consumer.stop(),
        options.jetstream.notices.onBulk(({ scope }) => openBulk(scope)),
        () => clearInterval(timer),
      ];
    },
    stop: () => {
      for (const step of undo) step();
      for (const { consumer } of lanes.values()) consumer.stop();
      lanes.clear();
    },
  };
}

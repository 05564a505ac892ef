/**
 * What a collector has in hand: journal messages that were delivered to it and not answered yet. It is bounded by number and
 * bytes, and every message in it is kept alive while Postgres takes its time.
 */
import { ackWaitMs, journalMessageSchema } from '@ironflow/schema';
import type { Delivery } from '@ironflow/jetstream';
import type { Clock, TimerHandle } from '@ironflow/service';
import { isAwaited } from './progress.js';
import type { PlacedMessage } from './progress.js';

/** `placed` is missing when the message cannot be read. */
export interface HeldMessage {
  sequence: number;
  delivery: Delivery;
  placed: PlacedMessage | undefined;
}

export interface Intake {
  /** How many more messages could be taken. */
  room(): number;
  add(delivery: Delivery): void;
  /** The oldest messages that nobody has taken yet. */
  take(limits: { messages: number; bytes: number }): HeldMessage[];
  /** Answers it and lets go of it. */
  release(held: HeldMessage, answer: (delivery: Delivery) => void): void;
  held(): number;
  waiting(): number;
  /** Whether one of those that wait should not wait. */
  isUrgent(): boolean;
  stop(): void;
}

export function createIntake(options: { messagesMax: number; bytesMax: number; clock: Clock }): Intake {
  const all = new Map<number, HeldMessage>();
  const queue: HeldMessage[] = [];
  let bytes = 0;
  let urgent = 0;
  let timer: TimerHandle | undefined;

  /** Every third of the ack wait, so that one lost in between does no harm. */
  const keepAlive = (): void => {
    for (const { delivery } of all.values()) void delivery.working();
    timer = all.size === 0 ? undefined : options.clock.setTimeout(keepAlive, ackWaitMs / 3);
  };
  return {
    room: () => (bytes >= options.bytesMax ? 0 : options.messagesMax - all.size),
    add: (delivery) => {
      const known = all.get(delivery.sequence);
      if (known !== undefined) {
        // Delivered again while it is in hand: only the newest delivery can be answered.
        bytes += delivery.data.length - known.delivery.data.length;
        known.delivery = delivery;
        return;
      }
      const held = { sequence: delivery.sequence, delivery, placed: read(delivery) };
      all.set(held.sequence, held);
      queue.push(held);
      if (isUrgent(held)) urgent += 1;
      bytes += delivery.data.length;
      timer ??= options.clock.setTimeout(keepAlive, ackWaitMs / 3);
    },
    take: (limits) => {
      let count = 0;
      let takenBytes = 0;
      while (count < queue.length && count < limits.messages && takenBytes < limits.bytes) {
        takenBytes += queue[count]!.delivery.data.length;
        count += 1;
      }
      const taken = queue.splice(0, count);
      urgent -= taken.filter(isUrgent).length;
      return taken;
    },
    release: (held, answer) => {
      if (!all.delete(held.sequence)) return;
      bytes -= held.delivery.data.length;
      answer(held.delivery);
    },
    held: () => all.size,
    waiting: () => queue.length,
    isUrgent: () => urgent > 0,
    stop: () => {
      timer?.cancel();
      // Handed to another collector now instead of after the ack wait.
      for (const held of all.values()) held.delivery.nak();
      all.clear();
      queue.length = 0;
      bytes = 0;
      urgent = 0;
    },
  };
}

/** What cannot be read is dealt with at once. */
function isUrgent({ placed }: HeldMessage): boolean {
  return placed === undefined || isAwaited(placed.message);
}

function read(delivery: Delivery): PlacedMessage | undefined {
  try {
    const message = journalMessageSchema.parse(JSON.parse(delivery.text()));
    return { sequence: delivery.sequence, message, delivered: delivery };
  } catch {
    return undefined;
  }
}

/**
 * What a collector has in hand: journal messages that were delivered to it and not answered yet. It is bounded by number and
 * bytes, and every message in it is kept alive while Postgres takes its time.
 *
 * A message is due when somebody waits for its run to move, or when it has lingered for long enough: what is not due
 * stays, so that it moves its run together with what follows it.
 */
import { TurnoverMap } from '@ironflow/collections';
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
  lingersUntilMs: number;
}

export interface Intake {
  /** How many more messages could be taken. */
  room(): number;
  add(delivery: Delivery): void;
  /** Of the messages that nobody has taken yet those that are due, the oldest first; all of them once they fill a batch. */
  take(limits: { messages: number; bytes: number }): HeldMessage[];
  /** Answers it and lets go of it. */
  release(held: HeldMessage, answer: (delivery: Delivery) => void): void;
  held(): number;
  waiting(): number;
  /** Until one of those that wait is due: 0 if one is; `undefined` if none waits. */
  dueInMs(): number | undefined;
  stop(): void;
}

export interface IntakeOptions {
  messagesMax: number;
  bytesMax: number;
  /** How long a message may wait for what follows it. */
  lingerMs: number;
  clock: Clock;
}

export function createIntake(options: IntakeOptions): Intake {
  const { clock } = options;
  const all = new TurnoverMap<number, HeldMessage>();
  let queue: HeldMessage[] = [];
  /** Urgent messages that wait, by their run. */
  const urgent = new Map<string, number>();
  let bytes = 0;
  let timer: TimerHandle | undefined;

  const lingersMs = (held: HeldMessage, nowMs: number): number => {
    const remainingMs = held.lingersUntilMs - nowMs;
    // More than that is a clock that was set back.
    return remainingMs > 0 && remainingMs <= options.lingerMs ? remainingMs : 0;
  };
  /** Every third of the ack wait, so that one lost in between does no harm. */
  const keepAlive = (): void => {
    for (const { delivery } of all.values()) void delivery.working();
    timer = all.size === 0 ? undefined : clock.setTimeout(keepAlive, ackWaitMs / 3);
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
      const placed = read(delivery);
      const lingersUntilMs = clock.now() + options.lingerMs;
      const held = { sequence: delivery.sequence, delivery, placed, lingersUntilMs };
      all.set(held.sequence, held);
      queue.push(held);
      if (isUrgent(held)) urgent.set(runOf(held), (urgent.get(runOf(held)) ?? 0) + 1);
      bytes += delivery.data.length;
      timer ??= clock.setTimeout(keepAlive, ackWaitMs / 3);
    },
    take: (limits) => {
      const nowMs = clock.now();
      const isFull = queue.length >= limits.messages;
      const taken: HeldMessage[] = [];
      let takenBytes = 0;
      queue = queue.filter((held) => {
        const isDue = isFull || urgent.has(runOf(held)) || lingersMs(held, nowMs) === 0;
        if (!isDue || taken.length >= limits.messages || takenBytes >= limits.bytes) return true;
        takenBytes += held.delivery.data.length;
        taken.push(held);
        return false;
      });
      for (const held of taken.filter(isUrgent)) {
        const others = urgent.get(runOf(held))! - 1;
        if (others > 0) urgent.set(runOf(held), others);
        else urgent.delete(runOf(held));
      }
      return taken;
    },
    release: (held, answer) => {
      if (!all.delete(held.sequence)) return;
      bytes -= held.delivery.data.length;
      answer(held.delivery);
    },
    held: () => all.size,
    waiting: () => queue.length,
    dueInMs: () => {
      if (urgent.size > 0) return 0;
      return queue[0] && lingersMs(queue[0], clock.now());
    },
    stop: () => {
      timer?.cancel();
      // Handed to another collector now instead of after the ack wait.
      for (const held of all.values()) held.delivery.nak();
      all.clear();
      queue = [];
      bytes = 0;
      urgent.clear();
    },
  };
}

/** What cannot be read is dealt with at once. */
function isUrgent({ placed }: HeldMessage): boolean {
  return placed === undefined || isAwaited(placed.message);
}

/** Those that cannot be read have none, and one place. */
function runOf({ placed }: HeldMessage): string {
  return placed?.message.runId ?? '';
}

function read(delivery: Delivery): PlacedMessage | undefined {
  try {
    const message = journalMessageSchema.parse(JSON.parse(delivery.text()));
    return { sequence: delivery.sequence, message, delivered: delivery };
  } catch {
    return undefined;
  }
}

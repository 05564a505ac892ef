/**
 * How long an executor may believe that an activation is its own. NATS does not check who answers a message, so the
 * executor fences itself: once its last confirmed sign of life was *sent* longer ago than the ack wait, somebody else may
 * have the message, and nothing of the activation is sent any more, for good.
 */
import { TurnoverMap } from '@ironflow/collections';
import type { Delivery } from '@ironflow/jetstream';
import { ackWaitMs } from '@ironflow/schema';

export interface Lease {
  /** Asked before everything that is sent. */
  isHeld(): boolean;
  /** Gives it up without a word: the run is somebody else's. */
  abandon(reason: string): void;
  /** Ends it with an ack, if it is still held. */
  finish(): void;
  /** Ends it so that the message is never delivered again, and nothing was made of it. */
  discard(): void;
  /** Ends it so that the message is delivered again. */
  handBack(delayMs?: number): void;
  /** Called once, when the lease is lost or taken back (not by its holder's own `finish` or `handBack`). */
  onLost(listener: (reason: string) => void): void;
  /** Called with every sign of life, as those that were there before; the first comes after a third of the ack wait. */
  onBeat(listener: () => void): void;
}

/** Two clocks, since either may stand still: the monotonic one over a suspend, the wall clock when it is set back. */
export interface TimeSource {
  wallMs(): number;
  monotonicMs(): number;
}

export interface LeaseKeeper {
  /**
   * `undefined` if this very delivery is held already: a server that was killed does not know of it, and delivers it once more. The signs of life of
   * the one that is held keep it.
   */
  grant(delivery: Delivery): Lease | undefined;
  /** Leases that are held. */
  count(): number;
  /** This executor goes: everything it still has is delivered to another at once. */
  handBackAll(reason: string): void;
  stop(): void;
}

const beatIntervalMs = ackWaitMs / 3;
/** One timer looks after every lease. */
const tickMs = 250;

interface HeldLease {
  id: number;
  delivery: Delivery;
  /** When the last sign of life that was confirmed had been sent. */
  confirmedAt: Instant;
  beatAt: Instant;
  state: 'held' | 'over';
  lostListener: (reason: string) => void;
  beatListener: () => void;
}

interface Instant {
  wallMs: number;
  monotonicMs: number;
}

export interface LeaseKeeperOptions {
  time: TimeSource;
  /** Without a connection no sign of life is sent: kept by the client, it would hide that somebody else has the message. */
  isConnected: () => boolean;
  /** Told of each lease that was lost; one that was handed back was not. */
  onLost: () => void;
}

export function createLeaseKeeper({ time, isConnected, onLost }: LeaseKeeperOptions): LeaseKeeper {
  const held = new TurnoverMap<number, HeldLease>();
  /** The last one of each message. */
  const bySequence = new TurnoverMap<number, HeldLease>();
  let granted = 0;
  const now = (): Instant => ({ wallMs: time.wallMs(), monotonicMs: time.monotonicMs() });
  const since = (instant: Instant): number =>
    Math.max(time.wallMs() - instant.wallMs, time.monotonicMs() - instant.monotonicMs);
  const end = (lease: HeldLease): boolean => {
    if (lease.state === 'over') return false;
    lease.state = 'over';
    held.delete(lease.id);
    const { sequence } = lease.delivery;
    if (bySequence.get(sequence) === lease) bySequence.delete(sequence);
    return true;
  };
  const lose = (lease: HeldLease, reason: string): void => {
    if (!end(lease)) return;
    onLost();
    lease.lostListener(reason);
  };
  const isHeld = (lease: HeldLease): boolean => {
    if (lease.state === 'held' && since(lease.confirmedAt) >= ackWaitMs) lose(lease, 'not confirmed in time');
    return lease.state === 'held';
  };
  const beat = async (lease: HeldLease): Promise<void> => {
    const sentAt = now();
    lease.beatAt = sentAt;
    lease.beatListener();
    if (isConnected() && (await lease.delivery.working())) lease.confirmedAt = sentAt;
  };
  // What is granted now may have lain in the socket since this process last came to its turn, the one before included: the rest
  // of what came while it stood still is read after the first.
  let turns = { last: now(), before: now() };
  const ticker = setInterval(() => {
    turns = { last: now(), before: turns.last };
    for (const lease of held.values()) {
      if (isHeld(lease) && since(lease.beatAt) >= beatIntervalMs) void beat(lease);
    }
  }, tickMs).unref();

  return {
    count: () => held.size,
    stop: () => clearInterval(ticker),
    handBackAll: (reason) => {
      for (const lease of held.values()) {
        if (isHeld(lease) && end(lease)) {
          lease.delivery.nak();
          lease.lostListener(reason);
        }
      }
    },
    grant: (delivery) => {
      const present = bySequence.get(delivery.sequence);
      if (present?.delivery.deliveryCount === delivery.deliveryCount && isHeld(present)) return undefined;
      const grantedAt = turns.before;
      const lease: HeldLease = {
        id: (granted += 1),
        delivery,
        confirmedAt: grantedAt,
        beatAt: grantedAt,
        state: 'held',
        lostListener: () => undefined,
        beatListener: () => undefined,
      };
      held.set(lease.id, lease);
      bySequence.set(delivery.sequence, lease);
      return {
        isHeld: () => isHeld(lease),
        abandon: (reason) => lose(lease, reason),
        finish: () => {
          if (isHeld(lease) && end(lease)) delivery.ack();
        },
        discard: () => {
          if (isHeld(lease) && end(lease)) delivery.term();
        },
        handBack: (delayMs) => {
          if (isHeld(lease) && end(lease)) delivery.nak(delayMs);
        },
        onLost: (listener) => (lease.lostListener = listener),
        onBeat: (listener) => {
          const before = lease.beatListener;
          lease.beatListener = () => {
            before();
            listener();
          };
        },
      };
    },
  };
}

/**
 * How many activations an executor has at a time, decided by how late its event loop is: what is taken beyond what the process can
 * keep up with only waits inside of it, and so does everybody who comes after. While the loop keeps up, as it does when functions
 * wait for something of theirs, the bound grows to whatever there is; when it is late, fewer are taken than end. Both in
 * proportion, so that it takes a second or two from a flood of short calls to one of long ones.
 *
 * Consumers that have something share the bound: whoever is below his share may go beyond what is free, and whoever is above it
 * takes nothing until others have theirs. Nobody is kept from what nobody else wants. One that has been alone for a while is bounded
 * loosely, since it is its own activations that wait behind each other then, and a burst of short ones is done sooner.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';

export interface LoadBound {
  /** Of a consumer that is told of when there may be more room. */
  join(onRoom: () => void): LoadShare;
  stop(): void;
}

export interface LoadShare {
  /** How many more activations it may take. */
  room(): number;
  began(): void;
  ended(): void;
  leave(): void;
}

const tickMs = 100;
/** How finely lateness is measured. */
const resolutionMs = 10;
const shareMin = 8;
/** How long a consumer counts after it had something. */
const countedTicks = 50;

interface Regime {
  /** Later than this is late. */
  lateMs: number;
  boundMin: number;
  /** What is kept of the bound when it is not used. */
  boundIdle: number;
}
export const alone: Regime = { lateMs: 20, boundMin: 64, boundIdle: 128 };
export const shared: Regime = { lateMs: 5, boundMin: 16, boundIdle: 48 };

export function createLoadBound(): LoadBound {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  const shares = createShares(alone.boundIdle);
  const timer = setInterval(() => {
    // Nanoseconds, from one look to the next. A loop that has not looked at all is late.
    const latenessMs = delay.count === 0 ? tickMs : delay.mean / 1_000_000 - resolutionMs;
    delay.reset();
    shares.adjust((bound, now) => nextBound(bound, { ...now, latenessMs }));
  }, tickMs).unref();
  return {
    join: shares.join,
    stop: () => {
      clearInterval(timer);
      delay.disable();
    },
  };
}

/** It falls with what ends, not faster; of one that is not used, less is left with time. */
export function nextBound(bound: number, now: Usage & { latenessMs: number }): number {
  const { lateMs, boundMin, boundIdle } = now.isShared ? shared : alone;
  if (now.latenessMs > lateMs) {
    const left = now.latenessMs > 4 * lateMs ? 0.5 : 0.8;
    return Math.max(boundMin, Math.min(bound, left * now.active));
  }
  if (now.active >= 0.9 * bound) return 1.25 * bound;
  return now.active < 0.5 * bound ? Math.max(boundIdle, 0.99 * bound) : bound;
}

interface Usage {
  active: number;
  /** By more than one consumer, lately. */
  isShared: boolean;
}

interface Share {
  active: number;
  onRoom: () => void;
}

export function createShares(boundAtFirst: number) {
  let bound = boundAtFirst;
  let active = 0;
  const busy = new Set<Share>();
  /** By those that have had something lately, the tick when they had. */
  const counted = new Map<Share, number>();
  let tick = 0;
  /** Those that asked and had no room, in their order. */
  const heldBack = new Set<Share>();
  const roomOf = (share: Share): number => {
    const sharers = busy.size + (busy.has(share) ? 0 : 1);
    const fair = Math.max(shareMin, Math.floor(bound / sharers));
    return Math.max(fair - share.active, Math.floor(bound) - active);
  };
  const wakeNext = (): void => {
    const [next] = heldBack;
    if (next === undefined) return;
    heldBack.delete(next);
    next.onRoom();
  };
  return {
    join: (onRoom: () => void): LoadShare => {
      const share: Share = { active: 0, onRoom };
      return {
        room: () => {
          const room = roomOf(share);
          if (room < 1) heldBack.add(share);
          return room;
        },
        began: () => {
          share.active += 1;
          active += 1;
          busy.add(share);
          counted.set(share, tick);
        },
        ended: () => {
          share.active -= 1;
          active -= 1;
          if (share.active === 0) busy.delete(share);
          wakeNext();
        },
        leave: () => void heldBack.delete(share),
      };
    },
    adjust: (next: (bound: number, usage: Usage) => number): void => {
      tick += 1;
      for (const [share, at] of counted) {
        if (busy.has(share)) counted.set(share, tick);
        else if (tick - at > countedTicks) counted.delete(share);
      }
      const before = bound;
      bound = next(bound, { active, isShared: counted.size > 1 });
      if (bound > before) for (let waiting = heldBack.size; waiting > 0; waiting -= 1) wakeNext();
    },
  };
}

/**
 * Which environments with a flood are looked at. Of each a lane is open as long as there are not too many; beyond that they take
 * turns: whoever has had nothing for a moment makes room first, and then whoever has been at it for longest. An environment is forgotten
 * when its turn is over and nothing has been heard of it for long, and never while it waits for its turn.
 */
import type { Scope } from '@ironflow/schema';

export interface FloodLane {
  active(): number;
  /** Takes nothing new; what is active goes on. */
  stop(): void;
}

export interface FloodLanesOptions {
  lanesMax: number;
  /** `onHeard` is called for whatever is delivered. */
  open: (scope: Scope, onHeard: () => void) => FloodLane;
  nowMs: () => number;
}

export interface FloodLanes {
  /** Something is said to be there. */
  tell(scope: Scope): void;
  /** Called every `turnEveryMs`. */
  takeTurns(): void;
  stop(): void;
}

interface Flooded {
  scope: Scope;
  /** When something was delivered, or said to be there. */
  heardAtMs: number;
}

interface Open extends Flooded {
  lane: FloodLane;
  openedAtMs: number;
}

export const turnEveryMs = 250;
const forgottenAfterMs = 30_000;
/** Twice as long as schedulers take to say again that something is there. */
const quietMs = 1_000;
const turnMs = 5_000;
const waitingMax = 10_000;

export function createFloodLanes({ lanesMax, open, nowMs }: FloodLanesOptions): FloodLanes {
  const lanes = new Map<string, Open>();
  const waiting = new Map<string, Flooded>();

  const openLane = ({ scope, heardAtMs }: Flooded): void => {
    const heard = (): void => void (opened.heardAtMs = nowMs());
    const opened: Open = { scope, heardAtMs, openedAtMs: nowMs(), lane: open(scope, heard) };
    lanes.set(scope.environmentId, opened);
  };
  const close = ({ scope, lane }: Open): void => {
    lane.stop();
    lanes.delete(scope.environmentId);
  };
  const isForgotten = ({ lane, heardAtMs }: Open): boolean =>
    lane.active() === 0 && nowMs() - heardAtMs >= forgottenAfterMs;
  const makeRoom = (): void => {
    const all = [...lanes.values()];
    const isQuiet = ({ lane, heardAtMs, openedAtMs }: Open): boolean =>
      lane.active() === 0 && nowMs() - Math.max(heardAtMs, openedAtMs) >= quietMs;
    const hadItsTurn = (opened: Open): boolean => !isQuiet(opened) && nowMs() - opened.openedAtMs >= turnMs;
    const givingWay = [...all.filter(isQuiet), ...all.filter(hadItsTurn)].slice(0, waiting.size);
    for (const opened of givingWay) {
      close(opened);
      const { scope, heardAtMs } = opened;
      waiting.set(scope.environmentId, { scope, heardAtMs });
    }
  };

  return {
    tell: (scope) => {
      const { environmentId } = scope;
      const known = lanes.get(environmentId) ?? waiting.get(environmentId);
      const flooded = { scope, heardAtMs: nowMs() };
      if (known !== undefined) known.heardAtMs = flooded.heardAtMs;
      else if (lanes.size < lanesMax) openLane(flooded);
      else if (waiting.size < waitingMax) waiting.set(environmentId, flooded);
    },
    takeTurns: () => {
      for (const lane of lanes.values()) if (isForgotten(lane)) close(lane);
      if (waiting.size > 0) makeRoom();
      for (const [environmentId, next] of waiting) {
        if (lanes.size >= lanesMax) return;
        waiting.delete(environmentId);
        openLane(next);
      }
    },
    stop: () => {
      waiting.clear();
      for (const lane of lanes.values()) close(lane);
    },
  };
}

/**
 * What happens when, from a seed: pure, so that a seed that failed can be played again. The same options and seed give the
 * same faults at the same times, on the same victims, and the same load (cases.ts); what the processes make of it is theirs.
 */
import type { FaultKind } from './fault-kinds.js';
import { createRandom } from './random.js';
import type { Random } from './random.js';

export interface PlanOptions {
  seed: number;
  minutes: number;
  kinds: readonly FaultKind[];
  isCluster: boolean;
}

export interface PlannedFault {
  kind: FaultKind;
  /** From the beginning of the load. */
  atMs: number;
  forMs: number;
  /** In [0, 1): which of the processes that it may strike. */
  victim: number;
}

/** The load warms up, and shows what is usual. */
const quietAtFirstMs = 10_000;
/** Nothing is injected at the end, so that the last fault's recovery is seen. */
const quietAtLastMs = 10_000;
const gapMsMin = 3_000;
const gapMsMax = 9_000;
const overlapChance = 0.25;

export function planFaults({ seed, minutes, kinds, isCluster }: PlanOptions): PlannedFault[] {
  const random = createRandom(seed, 'faults');
  const untilMs = minutes * 60_000 - quietAtLastMs;
  const playable = kinds.filter(
    ({ only }) => only === undefined || only === (isCluster ? 'cluster' : 'single'),
  );
  const deck = createDeck(playable, random);
  const faults: PlannedFault[] = [];
  let atMs = quietAtFirstMs;
  for (;;) {
    const first = drawFault(deck.draw(), atMs, random);
    if (first === undefined || endOf(first) > untilMs) return faults;
    faults.push(first);
    let endMs = endOf(first);
    if (random.chance(overlapChance)) {
      const second = deck.draw((kind) => kind.target.part !== first.kind.target.part);
      const beside = drawFault(second, atMs + random.whole(0, first.forMs), random);
      if (beside !== undefined && endOf(beside) <= untilMs) {
        faults.push(beside);
        endMs = Math.max(endMs, endOf(beside));
      }
    }
    atMs = endMs + random.whole(gapMsMin, gapMsMax);
  }
}

function drawFault(kind: FaultKind | undefined, atMs: number, random: Random): PlannedFault | undefined {
  if (kind === undefined) return undefined;
  return { kind, atMs, forMs: random.whole(kind.msMin, kind.msMax), victim: random.next() };
}

function endOf({ atMs, forMs }: PlannedFault): number {
  return atMs + forMs;
}

/** Every kind comes once before one comes again. */
function createDeck(kinds: readonly FaultKind[], random: Random) {
  let left = random.shuffled(kinds);
  return {
    draw: (fits: (kind: FaultKind) => boolean = () => true): FaultKind | undefined => {
      if (left.length === 0) left = random.shuffled(kinds.filter(({ once }) => once !== true));
      const index = left.findIndex(fits);
      return index < 0 ? undefined : left.splice(index, 1)[0];
    },
  };
}

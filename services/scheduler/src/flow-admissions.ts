/**
 * Which runs of the queue may go on now, decided. Pure; one environment at a time, since one lock covers it.
 *
 * Q1 Runs go in the order of the queue: those that have begun before the others, then by their place, which is when they came less
 *    their priority. One that may not go on keeps back those of its own lane only.
 * Q2 Every slot of a run is free, or the run takes none. A throttle is asked last, so that nobody uses it up in vain.
 * Q3 What a throttle lets in within `aheadMs` is let in now, to begin at its time: so a rate above that of the passes is kept.
 * Q4 A lane says what it waits for; nobody looks at it again before that.
 */
import type { FlowEntry, FlowLane, FlowState } from '@ironflow/database';
import { askRate, pausedObstacle, workerObstacle } from '@ironflow/schema';
import type { FlowControl } from '@ironflow/schema';
import { nameOf, stateKey } from './flow-arrivals.js';
import { laneName, slotsOf } from './flow-keys.js';
import type { SlotRule } from './flow-keys.js';

/** An entry on its way into its lane. */
export interface Placed {
  entry: FlowEntry;
  lane: string;
  slots: readonly SlotRule[];
  /** The key of its throttle. */
  throttle: string | undefined;
}

export interface AdmissionsInput {
  nowMs: number;
  configs: ReadonlyMap<string, FlowControl>;
  /** Those that come into the queue now. */
  placed: readonly Placed[];
  /** Those that are in it: of every lane that may go on, and of every one that somebody comes into. */
  lanes: readonly (FlowLane & { entries: readonly FlowEntry[]; readUpToMs: number })[];
  /** Slots in use. */
  usage: ReadonlyMap<string, number>;
  throttles: readonly FlowState[];
  isPaused: (functionId: string) => boolean;
  /** Whether somebody is there to call it. */
  isServed: (entry: FlowEntry) => boolean;
  /** So many go on at most. */
  room: number;
}

export interface Admitted {
  entry: FlowEntry;
  slots: readonly SlotRule[];
  /** Not before this. */
  startAtMs: number;
}

export interface AdmissionsDecision {
  admitted: Admitted[];
  /** Stay or come into the queue. */
  queued: Placed[];
  lanes: FlowLane[];
  emptied: string[];
  throttles: FlowState[];
  /** There was no room for all that might go on. */
  isCut: boolean;
}

export const aheadMs = 50;
/** Of each period of a throttle, kept for the way to the function, which takes one longer than the next: it is the beginnings that are bounded. */
export const onTheWayMs = 50;

export function place(entry: FlowEntry, config: FlowControl | undefined): Placed {
  // One that has begun holds what it keeps.
  const slots = slotsOf(entry.functionId, entry.keys, config).filter(
    ({ isKept }) => !(isKept && entry.resumed),
  );
  const throttle = config?.throttle === undefined || entry.resumed ? undefined : entry.keys.throttle;
  const { functionId, resumed } = entry;
  const lane = laneName({ functionId, resumed, slots: slots.map(({ slot }) => slot), throttle });
  return { entry, lane, slots, throttle };
}

export function decideAdmissions(input: AdmissionsInput): AdmissionsDecision {
  const lanes = openLanes(input);
  const usage = new Map(input.usage);
  const throttles = new Map(input.throttles.map((state) => [nameOf(state), state]));
  const changed = new Map<string, FlowState>();
  const admitted: Admitted[] = [];
  let isCut = false;
  for (const candidate of candidatesOf(lanes, input.nowMs)) {
    const lane = lanes.get(candidate.lane)!;
    if (lane.obstacle !== undefined) continue;
    if (admitted.length >= input.room) {
      isCut = true;
      break;
    }
    const blockedBy = blockerOf(candidate, input, usage);
    if (blockedBy !== undefined) {
      lane.obstacle = { blockedBy, readyAtMs: input.nowMs };
      continue;
    }
    const verdict = askThrottle(candidate, input, throttles);
    if (verdict.kind === 'out') {
      // A little sooner, so that it is let in ahead of its time and the rate is kept.
      lane.obstacle = { readyAtMs: verdict.againAtMs - aheadMs / 2 };
      continue;
    }
    if (verdict.state !== undefined) {
      throttles.set(nameOf(verdict.state), verdict.state);
      changed.set(nameOf(verdict.state), verdict.state);
    }
    for (const { slot } of candidate.slots) usage.set(slot, (usage.get(slot) ?? 0) + 1);
    admitted.push({ entry: candidate.entry, slots: candidate.slots, startAtMs: verdict.startAtMs });
  }
  const gone = new Set(admitted.map(({ entry }) => entry.runId));
  return {
    admitted,
    queued: input.placed.filter(({ entry }) => !gone.has(entry.runId)),
    lanes: [...lanes.values()].flatMap((lane) => lanesLeft(lane, gone, input.nowMs)),
    emptied: [...lanes.values()]
      .filter((lane) => lane.stored !== undefined && isEmpty(lane, gone, input.nowMs))
      .map(({ stored }) => stored!.lane),
    throttles: [...changed.values()],
    isCut,
  };
}

interface OpenLane {
  stored: FlowLane | undefined;
  entries: Placed[];
  /** Up to there nothing stands between its entries that was not read; infinite where it was read to its end. */
  readUpToMs: number;
  /** What its first entry waits for, as was found now. */
  obstacle: Pick<FlowLane, 'blockedBy' | 'readyAtMs'> | undefined;
}

function openLanes({ placed, lanes, configs }: AdmissionsInput): Map<string, OpenLane> {
  const open = new Map<string, OpenLane>();
  for (const { entries, readUpToMs, ...stored } of lanes) {
    open.set(stored.lane, {
      stored,
      // By the rules in force, whatever lane they came into.
      entries: entries.map((entry) => ({
        ...place(entry, configs.get(entry.functionId)),
        lane: stored.lane,
      })),
      readUpToMs,
      obstacle: undefined,
    });
  }
  for (const one of placed) {
    const lane = open.get(one.lane);
    if (lane !== undefined) lane.entries.push(one);
    else
      open.set(one.lane, {
        stored: undefined,
        entries: [one],
        readUpToMs: Infinity,
        obstacle: undefined,
      });
  }
  return open;
}

/** In the order of the queue; of lanes that wait for something nobody is asked. */
function candidatesOf(lanes: ReadonlyMap<string, OpenLane>, nowMs: number): Placed[] {
  const candidates = [...lanes.values()]
    .filter(({ stored }) => stored === undefined || isReady(stored, nowMs))
    .flatMap(({ entries, readUpToMs }) => entries.filter(({ entry }) => entry.positionMs <= readUpToMs));
  return candidates.sort((a, b) => compare(a.entry, b.entry));
}

function isReady({ blockedBy, readyAtMs }: FlowLane, nowMs: number): boolean {
  return blockedBy === undefined && readyAtMs <= nowMs;
}

function compare(a: FlowEntry, b: FlowEntry): number {
  if (a.resumed !== b.resumed) return a.resumed ? -1 : 1;
  return a.positionMs - b.positionMs || (a.eventId < b.eventId ? -1 : 1);
}

function blockerOf(
  { entry, slots }: Placed,
  { isPaused, isServed }: AdmissionsInput,
  usage: ReadonlyMap<string, number>,
): string | undefined {
  if (!entry.resumed && isPaused(entry.functionId)) return pausedObstacle(entry.functionId);
  if (!isServed(entry)) return workerObstacle(entry.run);
  return slots.find(({ slot, limit }) => (usage.get(slot) ?? 0) >= limit)?.slot;
}

function askThrottle(
  { entry, throttle }: Placed,
  { configs, nowMs }: AdmissionsInput,
  throttles: ReadonlyMap<string, FlowState>,
) {
  const declared = configs.get(entry.functionId)?.throttle;
  if (throttle === undefined || declared === undefined)
    return { kind: 'in' as const, startAtMs: nowMs, state: undefined };
  const rate = { ...declared, periodMs: declared.periodMs + onTheWayMs };
  const of = stateKey(entry, 'throttle', throttle);
  const nextAtMs = throttles.get(nameOf(of))?.nextAtMs;
  let startAtMs = nowMs;
  let verdict = askRate(rate, nextAtMs, startAtMs);
  if (verdict.kind === 'out' && verdict.againAtMs <= nowMs + aheadMs) {
    startAtMs = verdict.againAtMs;
    verdict = askRate(rate, nextAtMs, startAtMs);
  }
  if (verdict.kind === 'out') return verdict;
  const state: FlowState = { ...of, nextAtMs: verdict.nextAtMs, expiresAtMs: verdict.nextAtMs };
  return { kind: 'in' as const, startAtMs, state };
}

/** Of a lane that waits nobody has read what is in it. */
function isEmpty(
  { stored, entries, readUpToMs }: OpenLane,
  gone: ReadonlySet<string>,
  nowMs: number,
): boolean {
  if (stored !== undefined && !isReady(stored, nowMs)) return false;
  return readUpToMs === Infinity && entries.every(({ entry }) => gone.has(entry.runId));
}

/** Of a lane whose first runs are all about to end. */
const endingMs = 250;

/** The lane as it is to be stored, if anything of it has changed. */
function lanesLeft(lane: OpenLane, gone: ReadonlySet<string>, nowMs: number): FlowLane[] {
  if (isEmpty(lane, gone, nowMs)) return [];
  const { stored, entries, readUpToMs, obstacle } = lane;
  const left = entries.filter(({ entry }) => !gone.has(entry.runId));
  const positionMs = Math.min(...left.map(({ entry }) => entry.positionMs), readUpToMs);
  if (stored !== undefined && !isReady(stored, nowMs)) {
    return positionMs < stored.positionMs ? [{ ...stored, positionMs }] : [];
  }
  return [
    {
      ...(stored ?? laneOf(entries[0]!)),
      positionMs,
      blockedBy: obstacle?.blockedBy,
      readyAtMs: obstacle?.readyAtMs ?? (entries.length === 0 ? nowMs + endingMs : nowMs),
    },
  ];
}

function laneOf({ lane, entry, slots, throttle }: Placed): Omit<FlowLane, 'positionMs' | 'readyAtMs'> {
  const { functionId, resumed } = entry;
  return { lane, functionId, resumed, slots: slots.map(({ slot }) => slot), throttle };
}

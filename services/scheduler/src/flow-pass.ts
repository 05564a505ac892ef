/**
 * One pass over an environment's queue, within its transaction: reads what a decision needs, asks for it (flow-arrivals.ts,
 * flow-admissions.ts), and writes it.
 */
import type {
  FlowEntry,
  FlowHolder,
  FlowPass,
  FlowState,
  FlowStateKey,
  RunToActivate,
} from '@ironflow/database';
import type { FlowControl, Lane, Registry } from '@ironflow/schema';
import { decideAdmissions, place } from './flow-admissions.js';
import type { Admitted, AdmissionsDecision } from './flow-admissions.js';
import { decideArrivals, stateKey, statesNeeded } from './flow-arrivals.js';
import type { ArrivalsDecision } from './flow-arrivals.js';
import { obstaclesGone } from './flow-obstacles.js';
import type { WorkerPresence } from './worker-presence.js';

export interface PassReasons {
  /** Slots that were given back. */
  freed?: Iterable<string>;
  /** Whether what lanes wait for stands is asked, of the obstacles whose names come after this one. */
  recheckAfter?: string | undefined;
}

export interface Skipped {
  run: RunToActivate;
  /** The runs that wait for it. */
  awaitedBy: readonly string[];
}

export type PassOutcome =
  /** The registry is not the one in force. */
  { kind: 'stale' } | Decided;

interface Decided {
  kind: 'decided';
  nowMs: number;
  admitted: readonly Admitted[];
  skipped: readonly Skipped[];
  /** Runs that are to make room. */
  stops: readonly string[];
  /** There was more than one pass takes. */
  isCut: boolean;
  /** There are more obstacles to ask about, after this one. */
  recheckAfter: string | undefined;
  /** Nothing of the queue has changed. */
  isIdle: boolean;
  /** What rules remember now. */
  states: readonly FlowState[];
  removed: readonly FlowStateKey[];
}

const arrivalsMax = 500;
const lanesMax = 200;
const entriesPerLaneMax = 50;
const admittedMax = 500;
/** Of one slot that was given back; those behind are asked when the next one is. */
const lanesPerSlotMax = 20;
const obstaclesMax = 1_000;

export async function runPass(
  pass: FlowPass,
  of: {
    environmentId: string;
    registry: Registry;
    reasons: PassReasons;
    presence: Pick<WorkerPresence, 'isPresent'>;
  },
): Promise<PassOutcome> {
  const { registry, reasons, presence } = of;
  if (pass.registryVersion !== registry.version) return { kind: 'stale' };
  const { nowMs } = pass;
  const configs = new Map([...registry.functions].map(([id, { config }]) => [id, config]));

  const entries = await pass.arrivals(arrivalsMax);
  const states = await pass.states(statesNeeded(entries));
  const holders = await pass.holders(states.flatMap(({ runId }) => runId ?? []));
  const arrivals = decideArrivals({ nowMs, entries, configs, states, holders });

  const { environmentId } = of;
  const isPaused = (functionId: string) => pass.isPaused || pass.pausedFunctions.has(functionId);
  const isServed = (lane: Lane) => presence.isPresent({ environmentId, ...lane });
  const placed = arrivals.queued.map((entry) => place(entry, configs.get(entry.functionId)));
  await unblock(pass, reasons.freed ?? [], placed);
  const recheckAfter = await recheck(pass, reasons, { configs, isPaused, isServed });
  const names = [...new Set(placed.map(({ lane }) => lane))];
  // Who gives its place to another that arrived is in its lane still.
  const skipped = new Set(arrivals.skipped.map(({ runId }) => runId));
  const read = await pass.lanes({ names, limit: lanesMax, entriesMax: entriesPerLaneMax });
  const lanes = read.map((lane) => ({
    ...lane,
    entries: lane.entries.filter(({ runId }) => !skipped.has(runId)),
  }));
  const stored = lanes.flatMap((lane) =>
    lane.entries.map((entry) => place(entry, configs.get(entry.functionId))),
  );
  const decision = decideAdmissions({
    ...{ nowMs, configs, placed, lanes },
    usage: await pass.usage(slotsOfAll([...placed, ...stored])),
    throttles: await pass.states(throttlesOf([...placed, ...stored])),
    isPaused,
    isServed: ({ run }) => run.mode === 'push' || isServed(run),
    room: admittedMax,
  });
  return { ...(await write(pass, { entries, holders, arrivals, decision })), recheckAfter };
}

type Placed = ReturnType<typeof place>;

/** Those that came before go before: where there is room for what arrives, the lanes that wait for it are asked as well. */
async function unblock(pass: FlowPass, freed: Iterable<string>, placed: readonly Placed[]): Promise<void> {
  const used = await pass.usage(slotsOfAll(placed));
  const roomy = placed
    .flatMap(({ slots }) => slots)
    .filter(({ slot, limit }) => (used.get(slot) ?? 0) < limit);
  await pass.unblock([...new Set([...freed, ...roomy.map(({ slot }) => slot)])], lanesPerSlotMax);
}

/** Lets go on what waits for nothing any more; answers where to go on asking, if there is more. */
async function recheck(
  pass: FlowPass,
  { recheckAfter: after }: PassReasons,
  rules: {
    configs: ReadonlyMap<string, FlowControl>;
    isPaused: (functionId: string) => boolean;
    isServed: (lane: Lane) => boolean;
  },
): Promise<string | undefined> {
  if (after === undefined) return undefined;
  const names = await pass.obstacles({ after, limit: obstaclesMax });
  const gone = obstaclesGone({ ...rules, names, usage: await pass.usage(names) });
  const more = gone.length === 0 ? [] : await pass.unblock(gone, lanesMax);
  if (more.length > 0) return after;
  return names.length === obstaclesMax ? names.at(-1) : undefined;
}

function slotsOfAll(placed: readonly Placed[]): string[] {
  return [...new Set(placed.flatMap(({ slots }) => slots.map(({ slot }) => slot)))];
}

function throttlesOf(placed: readonly Placed[]) {
  return placed.flatMap(({ entry, throttle }) =>
    throttle === undefined ? [] : [stateKey(entry, 'throttle', throttle)],
  );
}

async function write(
  pass: FlowPass,
  of: {
    entries: readonly FlowEntry[];
    holders: ReadonlyMap<string, FlowHolder>;
    arrivals: ArrivalsDecision;
    decision: AdmissionsDecision;
  },
): Promise<Omit<Decided, 'recheckAfter'>> {
  const { entries, holders, arrivals, decision } = of;
  const { skipped, held, events, removed, stops } = arrivals;
  const written = await pass.write({
    ...{ skipped, held, events, removed },
    queued: decision.queued.map(({ entry, lane }) => ({ runId: entry.runId, lane })),
    admitted: decision.admitted.map(({ entry, slots }) => ({
      runId: entry.runId,
      resumed: entry.resumed,
      slots,
    })),
    lanes: decision.lanes,
    emptied: decision.emptied,
    states: [...arrivals.states, ...decision.throttles],
  });
  const runs = new Map(entries.map(({ runId, run }) => [runId, run]));
  for (const [runId, { entry }] of holders) runs.set(runId, entry.run);
  return {
    kind: 'decided',
    nowMs: pass.nowMs,
    admitted: decision.admitted.filter(({ entry }) => written.admitted.has(entry.runId)),
    skipped: written.skipped.map(({ runId, awaitedBy }) => ({ run: runs.get(runId)!, awaitedBy })),
    stops,
    isCut: decision.isCut,
    isIdle: isIdle(arrivals, decision),
    states: arrivals.states,
    removed,
  };
}

function isIdle({ skipped, held }: ArrivalsDecision, decision: AdmissionsDecision): boolean {
  const { admitted, queued, lanes, emptied } = decision;
  return [skipped, held, admitted, queued, lanes, emptied].every(({ length }) => length === 0);
}

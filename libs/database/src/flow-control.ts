/**
 * The queue of an environment's flow-controlled runs, and what their rules remember: read by one pass at a time, which decides in
 * the scheduler, and written by it in the same transaction.
 *
 * 1. One pass of an environment at a time, by an advisory lock that goes with the transaction. Nobody else writes lanes, states or
 *    the slots that are taken; an entry comes with its run (routing.ts), comes back when its run is woken, rests or goes when the
 *    collector accepts the end of its activation (result-collector.ts), and goes with its run.
 * 2. Runs are locked before their entries and slots, in the order of their ids, as everywhere.
 * 3. A slot is taken in the transaction that lets its run go on, and given back in the one that accepts that it stopped: none leaks.
 * 4. A run that was asked to stop, or is too late to begin, is let through by nobody's leave and keeps nobody back.
 */
import type { FlowKeys, FlowRule, RunMode } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import {
  arrivalsStatement,
  beginStatement,
  contentsStatement,
  debouncesStatement,
  dueOfAllStatement,
  dueStatement,
  holderOf,
  holdersStatement,
  lanesStatement,
  lockStatement,
  obstaclesStatement,
  statesStatement,
  toEntry,
  toLane,
  toState,
  unblockStatement,
  usageStatement,
} from './flow-reads.js';
import type { BeginRow, EntryRow, LaneRow, StateRow } from './flow-reads.js';
import { admitStatement, rememberStatement, requeueStatement } from './flow-writes.js';
import { boundsOf } from './id-windows.js';
import type { RunToActivate } from './run-to-activate.js';

export interface FlowEntry {
  runId: string;
  eventId: string;
  functionId: string;
  appId: string;
  mode: RunMode;
  state: 'arrived' | 'held' | 'queued' | 'admitted' | 'resting';
  keys: FlowKeys;
  /** Of its event's data. */
  bytes: number;
  receivedAtMs: number;
  /** Its place in the queue. */
  positionMs: number;
  /** It has begun before. */
  resumed: boolean;
  dueAtMs?: number;
  /** How it is activated. */
  run: RunToActivate;
}

/** A run that a state names, while it lives. */
export interface FlowHolder {
  entry: FlowEntry;
  state: FlowEntry['state'];
  hasBegun: boolean;
}

export interface FlowStateKey {
  functionId: string;
  rule: FlowRule;
  keyHash: string;
}

export interface FlowState extends FlowStateKey {
  nextAtMs?: number | undefined;
  runId?: string | undefined;
  sinceMs?: number | undefined;
  dueAtMs?: number | undefined;
  size?: number | undefined;
  bytes?: number | undefined;
  expiresAtMs: number;
}

export interface FlowLane {
  lane: string;
  functionId: string;
  resumed: boolean;
  slots: readonly string[];
  throttle: string | undefined;
  positionMs: number;
  /** The name of an obstacle; otherwise it waits for the time. */
  blockedBy?: string | undefined;
  readyAtMs: number;
}

export interface LaneContent {
  /** Without those that are to end. */
  entries: FlowEntry[];
  /** The place up to which it was read; infinite where that is all of it. */
  readUpToMs: number;
}

export interface FlowWrites {
  skipped: readonly { runId: string; reason: string; joinedRunId: string | undefined }[];
  held: readonly { runId: string; dueAtMs: number }[];
  queued: readonly { runId: string; lane: string }[];
  admitted: readonly {
    runId: string;
    resumed: boolean;
    slots: readonly { slot: string; isKept: boolean }[];
  }[];
  lanes: readonly FlowLane[];
  emptied: readonly string[];
  states: readonly FlowState[];
  removed: readonly FlowStateKey[];
  events: readonly { runId: string; place: number; eventId: string }[];
}

export interface FlowWritten {
  /** Those that lived still. */
  admitted: ReadonlySet<string>;
  skipped: { runId: string; awaitedBy: string[] }[];
}

export interface FlowPass {
  nowMs: number;
  registryVersion: number;
  /** All of the environment, or these functions of it. */
  isPaused: boolean;
  pausedFunctions: ReadonlySet<string>;
  /** Those that arrived, and those held whose time has come. */
  arrivals(limit: number): Promise<FlowEntry[]>;
  states(keys: readonly FlowStateKey[]): Promise<FlowState[]>;
  holders(runIds: readonly string[]): Promise<Map<string, FlowHolder>>;
  /** How many runs hold each slot. */
  usage(slots: readonly string[]): Promise<Map<string, number>>;
  /** What lanes wait for, in the order of names, those after one of them. */
  obstacles(query: { after: string; limit: number }): Promise<string[]>;
  /** The lanes that wait for one of these may go on: the first ones of each. Answers those that more may wait for. */
  unblock(obstacles: readonly string[], lanesEach: number): Promise<string[]>;
  /** Those that may go on, the first first, and those of these names. */
  lanes(query: {
    names: readonly string[];
    limit: number;
    entriesMax: number;
  }): Promise<(FlowLane & LaneContent)[]>;
  write(writes: FlowWrites): Promise<FlowWritten>;
}

export interface FlowDue {
  environmentId: string;
  /** Until there is something to decide; absent when lanes wait for others only. */
  inMs?: number;
}

export interface FlowStore {
  /** Waits for the pass before it. */
  pass<T>(environmentId: string, work: (pass: FlowPass) => Promise<T>): Promise<T>;
  /** Woken runs come into the queue; those that are not answered go on at once: they are in nobody's way. */
  requeue(runIds: readonly string[]): Promise<Map<string, string>>;
  /** Those that have something to decide, of these or of all. */
  due(environmentIds?: readonly string[]): Promise<FlowDue[]>;
  /** Debounces under way, of all environments, the next ones first. */
  debounces(limit: number): Promise<{ environmentId: string; state: FlowState }[]>;
}

export function createFlowStore(database: Database): FlowStore {
  return {
    pass: (environmentId, work) =>
      database.transaction(async (transaction) => {
        await transaction.query(lockStatement, [environmentId]);
        return work(await beginPass(transaction, environmentId));
      }),
    requeue: async (runIds) => {
      if (runIds.length === 0) return new Map();
      const { lowest, highest } = boundsOf(runIds);
      const rows = await database.query<{ run_id: string; environment_id: string }>(requeueStatement, [
        runIds,
        lowest,
        highest,
      ]);
      return new Map(rows.map((row) => [row.run_id, row.environment_id]));
    },
    due: async (environmentIds) => {
      const rows = await (environmentIds === undefined
        ? database.query<DueRow>(dueOfAllStatement, [])
        : database.query<DueRow>(dueStatement, [environmentIds]));
      return rows.map(({ environment_id: id, in_ms: inMs }) => ({
        environmentId: id,
        ...(inMs === null ? {} : { inMs }),
      }));
    },
    debounces: async (limit) => {
      const rows = await database.query<StateRow & { environment_id: string }>(debouncesStatement, [limit]);
      return rows.map((row) => ({ environmentId: row.environment_id, state: toState(row) }));
    },
  };
}

async function beginPass(transaction: Queryable, environmentId: string): Promise<FlowPass> {
  const [begin] = await transaction.query<BeginRow>(beginStatement, [environmentId]);
  const entries = async (statement: Statement, values: readonly unknown[]): Promise<FlowEntry[]> =>
    (await transaction.query<EntryRow>(statement, [environmentId, ...values])).map(toEntry);
  return {
    nowMs: begin!.now_ms,
    registryVersion: begin!.registry_version,
    isPaused: begin!.is_paused,
    pausedFunctions: new Set(begin!.paused_functions),
    arrivals: (limit) => entries(arrivalsStatement, [limit]),
    states: async (keys) => {
      if (keys.length === 0) return [];
      const rows = await transaction.query<StateRow>(statesStatement, [
        environmentId,
        keys.map(({ functionId }) => functionId),
        keys.map(({ rule }) => rule),
        keys.map(({ keyHash }) => keyHash),
      ]);
      return rows.map(toState);
    },
    holders: async (runIds) => {
      if (runIds.length === 0) return new Map();
      const found = await entries(holdersStatement, [runIds]);
      return new Map(found.map((entry) => [entry.runId, holderOf(entry)]));
    },
    usage: async (slots) => {
      if (slots.length === 0) return new Map();
      const rows = await transaction.query<{ slot: string; used: number }>(usageStatement, [
        environmentId,
        slots,
      ]);
      return new Map(rows.map(({ slot, used }) => [slot, used]));
    },
    obstacles: async ({ after, limit }) => {
      const rows = await transaction.query<NameRow>(obstaclesStatement, [environmentId, after, limit]);
      return rows.map(({ name }) => name);
    },
    unblock: async (obstacles, lanesEach) => {
      const rows = await transaction.query<NameRow>(unblockStatement, [environmentId, obstacles, lanesEach]);
      return rows.map(({ name }) => name);
    },
    lanes: async ({ names, limit, entriesMax }) => {
      const rows = await transaction.query<LaneRow>(lanesStatement, [
        environmentId,
        names,
        limit,
        begin!.now_ms,
      ]);
      const lanes = rows.map(toLane);
      const ready = lanes.filter(
        ({ blockedBy, readyAtMs }) => blockedBy === undefined && readyAtMs <= begin!.now_ms,
      );
      const contents = await transaction.query<EntryRow & { lane: string; may_go_on: boolean }>(
        contentsStatement,
        [environmentId, ready.map(({ lane }) => lane), entriesMax + 1],
      );
      return lanes.map((lane) => {
        const all = contents.filter((row) => row.lane === lane.lane);
        const read = all.slice(0, entriesMax);
        const entries = read.filter((row) => row.may_go_on).map(toEntry);
        return {
          ...lane,
          entries,
          readUpToMs: all.length > entriesMax ? read.at(-1)!.position_ms : Infinity,
        };
      });
    },
    write: (writes) => write(transaction, environmentId, writes),
  };
}

async function write(
  transaction: Queryable,
  environmentId: string,
  writes: FlowWrites,
): Promise<FlowWritten> {
  const { skipped, held, queued, admitted, lanes, emptied, states, removed, events } = writes;
  const runIds = [...skipped, ...admitted].map(({ runId }) => runId);
  let outcome: AdmittedRow = { admitted: null, skipped: null };
  if (runIds.length > 0) {
    const { lowest, highest } = boundsOf(runIds);
    const slots = admitted.flatMap(({ runId, slots: taken }) => taken.map((one) => ({ runId, ...one })));
    [outcome] = (await transaction.query<AdmittedRow>(admitStatement, [
      environmentId,
      [...runIds].sort(),
      lowest,
      highest,
      skipped.map(({ runId }) => runId),
      skipped.map(({ reason }) => reason),
      skipped.map(({ joinedRunId }) => joinedRunId ?? null),
      admitted.map(({ runId }) => runId),
      admitted.filter(({ resumed }) => !resumed).map(({ runId }) => runId),
      slots.map(({ runId }) => runId),
      slots.map(({ slot }) => slot),
      slots.map(({ isKept }) => isKept),
    ])) as [AdmittedRow];
  }
  const changes = [held, queued, lanes, emptied, states, removed, events];
  if (changes.some(({ length }) => length > 0)) {
    await transaction.query(rememberStatement, [
      environmentId,
      [...held, ...queued].map(({ runId }) => runId),
      [...held.map(() => 'held'), ...queued.map(() => 'queued')],
      [...held.map(() => null), ...queued.map(({ lane }) => lane)],
      [...held.map(({ dueAtMs }) => dueAtMs), ...queued.map(() => null)],
      lanes.map(({ lane }) => lane),
      lanes.map(({ functionId }) => functionId),
      lanes.map(({ resumed }) => resumed),
      lanes.map(({ slots }) => JSON.stringify(slots)),
      lanes.map(({ throttle }) => throttle ?? null),
      lanes.map(({ positionMs }) => positionMs),
      lanes.map(({ blockedBy }) => blockedBy ?? null),
      lanes.map(({ readyAtMs }) => readyAtMs),
      emptied,
      states.map(({ functionId }) => functionId),
      states.map(({ rule }) => rule),
      states.map(({ keyHash }) => keyHash),
      states.map(({ nextAtMs }) => nextAtMs ?? null),
      states.map(({ runId }) => runId ?? null),
      states.map(({ sinceMs }) => sinceMs ?? null),
      states.map(({ dueAtMs }) => dueAtMs ?? null),
      states.map(({ size }) => size ?? null),
      states.map(({ bytes }) => bytes ?? null),
      states.map(({ expiresAtMs }) => expiresAtMs),
      removed.map(({ functionId }) => functionId),
      removed.map(({ rule }) => rule),
      removed.map(({ keyHash }) => keyHash),
      events.map(({ runId }) => runId),
      events.map(({ place }) => place),
      events.map(({ eventId }) => eventId),
    ]);
  }
  return {
    admitted: new Set(outcome.admitted),
    skipped: (outcome.skipped ?? []).map(([runId, awaitedBy]) => ({ runId, awaitedBy: awaitedBy ?? [] })),
  };
}

interface AdmittedRow {
  admitted: string[] | null;
  skipped: [string, string[] | null][] | null;
}

interface DueRow {
  environment_id: string;
  in_ms: number | null;
}

interface NameRow {
  name: string;
}

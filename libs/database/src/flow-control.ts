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
import { admitStatement, rememberStatement, requeueStatement } from './flow-writes.js';
import { boundsOf } from './id-windows.js';
import { laneColumnOf, runToActivate, scopeColumns } from './run-to-activate.js';
import type { RunToActivate, RunToActivateRow } from './run-to-activate.js';

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
  /** A slot, `paused` or `worker`; otherwise it waits for the time. */
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
  /** The lanes that wait for one of the slots may go on: the first ones of each. */
  unblock(slots: readonly string[], lanesEach: number): Promise<void>;
  /** The same for whatever lanes wait for. */
  unblockAll(lanesEach: number): Promise<void>;
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
  /** When each environment has something to decide; without one, of all. */
  due(environmentId?: string): Promise<FlowDue[]>;
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
    due: async (environmentId) => {
      const rows = await database.query<{ environment_id: string; in_ms: number | null }>(dueStatement, [
        environmentId ?? null,
      ]);
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
    unblock: async (slots, lanesEach) => {
      await transaction.query(unblockStatement, [environmentId, slots, lanesEach]);
    },
    unblockAll: async (lanesEach) => {
      await transaction.query(unblockAllStatement, [environmentId, lanesEach]);
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

interface BeginRow {
  now_ms: number;
  registry_version: number;
  is_paused: boolean;
  paused_functions: string[];
}

interface EntryRow extends RunToActivateRow {
  state: FlowEntry['state'];
  keys: FlowKeys;
  bytes: number;
  received_at_ms: number;
  position_ms: number;
  resumed: boolean;
  due_at_ms: number | null;
}

interface StateRow {
  function_id: string;
  rule: FlowRule;
  key_hash: string;
  next_at_ms: number | null;
  run_id: string | null;
  since_ms: number | null;
  due_at_ms: number | null;
  size: number | null;
  bytes: number | null;
  expires_at_ms: number;
}

interface LaneRow {
  lane: string;
  function_id: string;
  resumed: boolean;
  slots: string[];
  throttle: string | null;
  position_ms: number;
  blocked_by: string | null;
  ready_at_ms: number;
}

function toEntry(row: EntryRow): FlowEntry {
  const run = runToActivate(row);
  return {
    runId: run.runId,
    eventId: run.eventId,
    functionId: run.functionId,
    appId: run.appId,
    mode: run.mode,
    state: row.state,
    keys: row.keys,
    bytes: row.bytes,
    receivedAtMs: row.received_at_ms,
    positionMs: row.position_ms,
    resumed: row.resumed,
    ...(row.due_at_ms === null ? {} : { dueAtMs: row.due_at_ms }),
    run,
  };
}

function holderOf(entry: FlowEntry): FlowHolder {
  const hasBegun = entry.resumed || entry.state === 'admitted' || entry.state === 'resting';
  return { entry, state: entry.state, hasBegun };
}

function toState(row: StateRow): FlowState {
  return {
    functionId: row.function_id,
    rule: row.rule,
    keyHash: row.key_hash,
    nextAtMs: row.next_at_ms ?? undefined,
    runId: row.run_id ?? undefined,
    sinceMs: row.since_ms ?? undefined,
    dueAtMs: row.due_at_ms ?? undefined,
    size: row.size ?? undefined,
    bytes: row.bytes ?? undefined,
    expiresAtMs: row.expires_at_ms,
  };
}

function toLane(row: LaneRow): FlowLane {
  return {
    lane: row.lane,
    functionId: row.function_id,
    resumed: row.resumed,
    slots: row.slots,
    throttle: row.throttle ?? undefined,
    positionMs: row.position_ms,
    ...(row.blocked_by === null ? {} : { blockedBy: row.blocked_by }),
    readyAtMs: row.ready_at_ms,
  };
}

const millisecondsOf = (column: string): string => `(extract(epoch from ${column}) * 1000)::float8`;

const lockStatement: Statement = {
  name: 'flow_lock',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.flow.' || $1, 0))`,
};
const beginStatement: Statement = {
  name: 'flow_begin',
  text: `select ${millisecondsOf('clock_timestamp()')} as now_ms, e.registry_version, e.paused_at is not null as is_paused,
      array(select id from functions where environment_id = e.id and paused_at is not null) as paused_functions
    from environments e where e.id = $1`,
};

/** Of `queue_entries q` and its run `r`. */
const entryColumns = `r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, r.build_id, r.limited, ${scopeColumns},
      q.state, q.keys, q.bytes, ${millisecondsOf('q.received_at')} as received_at_ms,
      ${millisecondsOf('q.position')} as position_ms, q.resumed, ${millisecondsOf('q.due_at')} as due_at_ms`;
const joinedRun = (condition: string): string => `cross join lateral (
      select id, environment_id, mode, app_id, function_id, event_id, status, stop_requested_at, start_expired_at,
        ${laneColumnOf('runs')}
      from runs where runs.id = q.run_id offset 0
    ) r
    join environments e on e.id = r.environment_id
    where ${condition}`;
const mayGoOn = `r.status = 'queued' and r.stop_requested_at is null and r.start_expired_at is null`;

const arrivalsStatement: Statement = {
  name: 'flow_arrivals',
  text: `select ${entryColumns} from (
      (select * from queue_entries where environment_id = $1 and state = 'arrived'
        order by received_at, event_id limit $2)
      union all
      (select * from queue_entries where environment_id = $1 and state = 'held' and due_at <= clock_timestamp()
        order by due_at limit $2)
    ) q ${joinedRun(mayGoOn)}`,
};
const holdersStatement: Statement = {
  name: 'flow_holders',
  text: `select ${entryColumns} from (
      select * from queue_entries where environment_id = $1 and run_id = any($2::uuid[])
    ) q ${joinedRun(`r.status in ('queued', 'running', 'waiting', 'waiting_for_worker')`)}`,
};
const contentsStatement: Statement = {
  name: 'flow_contents',
  text: `select ${entryColumns}, q.lane, ${mayGoOn} as may_go_on from unnest($2::text[]) as l (lane)
    cross join lateral (
      select * from queue_entries
      where environment_id = $1 and queue_entries.lane = l.lane and state = 'queued'
      order by position, event_id limit $3
    ) q ${joinedRun('true')}
    order by q.position, q.event_id`,
};

const statesStatement: Statement = {
  name: 'flow_states',
  text: `select s.function_id, s.rule, s.key_hash, next_at_ms, run_id, since_ms, due_at_ms, size, bytes,
      ${millisecondsOf('expires_at')} as expires_at_ms
    from unnest($2::text[], $3::text[], $4::text[]) as g (function_id, rule, key_hash)
    cross join lateral (
      select * from flow_states where environment_id = $1 and flow_states.function_id = g.function_id
        and flow_states.rule = g.rule and flow_states.key_hash = g.key_hash offset 0
    ) s`,
};
// By what they hold, of which there is an index: states there may be many of.
const debouncesStatement: Statement = {
  name: 'flow_debounces',
  text: `select s.environment_id, s.function_id, s.rule, s.key_hash, s.next_at_ms, s.run_id, s.since_ms, s.due_at_ms, s.size,
      s.bytes, ${millisecondsOf('s.expires_at')} as expires_at_ms
    from flow_states s join queue_entries q on q.run_id = s.run_id and q.state = 'held'
    where s.rule = 'debounce' order by s.due_at_ms limit $1`,
};
const usageStatement: Statement = {
  name: 'flow_usage',
  text: `select slot, count(*)::int as used from slots
    where environment_id = $1 and slot = any($2::text[])
      and (leased_until is null or leased_until > clock_timestamp())
    group by slot`,
};
// Slots whose lease has ended are free as well.
const unblockStatement: Statement = {
  name: 'flow_unblock',
  text: `with ended as (
    delete from slots where environment_id = $1 and leased_until <= clock_timestamp() returning slot
  ), freed as (
    select slot from unnest($2::text[]) as f (slot) union select slot from ended
  ), chosen as materialized (
    select l.lane from freed cross join lateral (
      select lane from queue_lanes where environment_id = $1 and blocked_by = freed.slot
      order by resumed desc, position limit $3
    ) l
  )
  update queue_lanes set blocked_by = null, ready_at = now()
  where environment_id = $1 and lane = any(array(select lane from chosen)) returning 1`,
};
const unblockAllStatement: Statement = {
  name: 'flow_unblock_all',
  text: `with recursive obstacles as (
      (select blocked_by from queue_lanes where environment_id = $1 and blocked_by is not null
        order by blocked_by limit 1)
    union all
      select next.blocked_by from obstacles cross join lateral (
        select blocked_by from queue_lanes where environment_id = $1 and blocked_by > obstacles.blocked_by
        order by blocked_by limit 1
      ) next
  ), chosen as materialized (
    select l.lane from (select blocked_by from obstacles limit 1000) o cross join lateral (
      select lane from queue_lanes where environment_id = $1 and blocked_by = o.blocked_by
      order by resumed desc, position limit $2
    ) l
  )
  update queue_lanes set blocked_by = null, ready_at = now()
  where environment_id = $1 and lane = any(array(select lane from chosen)) returning 1`,
};
const lanesStatement: Statement = {
  name: 'flow_lanes',
  text: `with ready as (
    select * from queue_lanes where environment_id = $1 and blocked_by is null and ready_at <= to_timestamp($4::float8 / 1000)
    order by resumed desc, position limit $3
  )
  select lane, function_id, resumed, slots, throttle, ${millisecondsOf('position')} as position_ms, blocked_by,
    ${millisecondsOf('ready_at')} as ready_at_ms
  from (
    select * from ready
    union
    select * from queue_lanes where environment_id = $1 and lane = any($2::text[])
  ) l`,
};
const dueStatement: Statement = {
  name: 'flow_due',
  text: `select environment_id, min(${millisecondsOf('due_at - clock_timestamp()')}) as in_ms from (
      select environment_id, received_at as due_at from queue_entries
      where state = 'arrived' and environment_id = coalesce($1, environment_id)
      union all
      select environment_id, due_at from queue_entries
      where state = 'held' and environment_id = coalesce($1, environment_id)
      union all
      select environment_id, case when blocked_by is null then ready_at end from queue_lanes
      where environment_id = coalesce($1, environment_id)
      union all
      select environment_id, leased_until from slots
      where leased_until is not null and environment_id = coalesce($1, environment_id)
    ) d group by environment_id`,
};

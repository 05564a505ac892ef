/** What a pass over the queue reads (flow-control.ts), and how its rows are meant. */
import type { FlowKeys, FlowRule } from '@ironflow/schema';
import type { Statement } from './database.js';
import type { FlowEntry, FlowHolder, FlowLane, FlowState } from './flow-control.js';
import { laneColumnOf, runToActivate, scopeColumns } from './run-to-activate.js';
import type { RunToActivateRow } from './run-to-activate.js';

export interface BeginRow {
  now_ms: number;
  registry_version: number;
  is_paused: boolean;
  paused_functions: string[];
}

export interface EntryRow extends RunToActivateRow {
  state: FlowEntry['state'];
  keys: FlowKeys;
  bytes: number;
  received_at_ms: number;
  position_ms: number;
  resumed: boolean;
  due_at_ms: number | null;
}

export interface StateRow {
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

export interface LaneRow {
  lane: string;
  function_id: string;
  resumed: boolean;
  slots: string[];
  throttle: string | null;
  position_ms: number;
  blocked_by: string | null;
  ready_at_ms: number;
}

export function toEntry(row: EntryRow): FlowEntry {
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

export function holderOf(entry: FlowEntry): FlowHolder {
  const hasBegun = entry.resumed || entry.state === 'admitted' || entry.state === 'resting';
  return { entry, state: entry.state, hasBegun };
}

export function toState(row: StateRow): FlowState {
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

export function toLane(row: LaneRow): FlowLane {
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

export const lockStatement: Statement = {
  name: 'flow_lock',
  text: `select pg_advisory_xact_lock(hashtextextended('ironflow.flow.' || $1, 0))`,
};
export const beginStatement: Statement = {
  name: 'flow_begin',
  text: `select ${millisecondsOf('clock_timestamp()')} as now_ms, e.registry_version,
      e.paused_at is not null or e.archived_at is not null as is_paused,
      array(select id from functions where environment_id = e.id and paused_at is not null) as paused_functions
    from environments e where e.id = $1`,
};

/** Of `queue_entries q` and its run `r`. */
const entryColumns = `r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, r.build_id, r.limited, r.bulk, ${scopeColumns},
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

export const arrivalsStatement: Statement = {
  name: 'flow_arrivals',
  text: `select ${entryColumns} from (
      (select * from queue_entries where environment_id = $1 and state = 'arrived'
        order by received_at, event_id limit $2)
      union all
      (select * from queue_entries where environment_id = $1 and state = 'held' and due_at <= clock_timestamp()
        order by due_at limit $2)
    ) q ${joinedRun(mayGoOn)}`,
};
export const holdersStatement: Statement = {
  name: 'flow_holders',
  text: `select ${entryColumns} from (
      select * from queue_entries where environment_id = $1 and run_id = any($2::uuid[])
    ) q ${joinedRun(`r.status in ('queued', 'running', 'waiting', 'waiting_for_worker')`)}`,
};
export const contentsStatement: Statement = {
  name: 'flow_contents',
  text: `select ${entryColumns}, q.lane, ${mayGoOn} as may_go_on from unnest($2::text[]) as l (lane)
    cross join lateral (
      select * from queue_entries
      where environment_id = $1 and queue_entries.lane = l.lane and state = 'queued'
      order by position, event_id limit $3
    ) q ${joinedRun('true')}
    order by q.position, q.event_id`,
};

export const statesStatement: Statement = {
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
export const debouncesStatement: Statement = {
  name: 'flow_debounces',
  text: `select s.environment_id, s.function_id, s.rule, s.key_hash, s.next_at_ms, s.run_id, s.since_ms, s.due_at_ms, s.size,
      s.bytes, ${millisecondsOf('s.expires_at')} as expires_at_ms
    from flow_states s join queue_entries q on q.run_id = s.run_id and q.state = 'held'
    where s.rule = 'debounce' order by s.due_at_ms limit $1`,
};
export const usageStatement: Statement = {
  name: 'flow_usage',
  text: `select slot, count(*)::int as used from slots
    where environment_id = $1 and slot = any($2::text[])
      and (leased_until is null or leased_until > clock_timestamp())
    group by slot`,
};
// Slots whose lease has ended are free as well.
export const unblockStatement: Statement = {
  name: 'flow_unblock',
  text: `with ended as (
    delete from slots where environment_id = $1 and leased_until <= clock_timestamp() returning slot
  ), gone as (
    select name from unnest($2::text[]) as g (name) union select slot from ended
  ), chosen as materialized (
    select l.lane, gone.name from gone cross join lateral (
      select lane from queue_lanes where environment_id = $1 and blocked_by = gone.name
      order by resumed desc, position limit $3
    ) l
  ), unblocked as (
    update queue_lanes set blocked_by = null, ready_at = now()
    where environment_id = $1 and lane = any(array(select lane from chosen))
  )
  select name from chosen group by name having count(*) >= $3`,
};
// Each is found in the index behind the one before it.
export const obstaclesStatement: Statement = {
  name: 'flow_obstacles',
  text: `with recursive obstacles (name) as (
      (select blocked_by from queue_lanes where environment_id = $1 and blocked_by > $2 order by blocked_by limit 1)
    union all
      select next.blocked_by from obstacles cross join lateral (
        select blocked_by from queue_lanes where environment_id = $1 and blocked_by > obstacles.name
        order by blocked_by limit 1
      ) next
  )
  select name from obstacles limit $3`,
};
export const lanesStatement: Statement = {
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
const earliest = (column: string, table: string, condition: string): string =>
  `(select ${column} from ${table} t where t.environment_id = e.id and ${condition} order by ${column} limit 1)`;
/** Of `environments e`; each part is the first of an index, so that it does not matter how much there is. */
const dueOf = (environments: string): string => `select e.id as environment_id,
      ${millisecondsOf('least(arrived, held, ready, leased) - clock_timestamp()')} as in_ms
    from ${environments} cross join lateral (
      select ${earliest('received_at', 'queue_entries', `state = 'arrived'`)} as arrived,
        ${earliest('due_at', 'queue_entries', `state = 'held'`)} as held,
        ${earliest('ready_at', 'queue_lanes', 'blocked_by is null')} as ready,
        ${earliest('leased_until', 'slots', 'leased_until is not null')} as leased,
        exists (select from queue_lanes t where t.environment_id = e.id and t.blocked_by is not null) as blocked
    ) due
    where blocked or least(arrived, held, ready, leased) is not null`;
export const dueStatement: Statement = {
  name: 'flow_due',
  text: dueOf('unnest($1::uuid[]) as e (id)'),
};
export const dueOfAllStatement: Statement = { name: 'flow_due_of_all', text: dueOf('environments e') };

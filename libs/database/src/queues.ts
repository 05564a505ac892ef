/**
 * What waits by flow control, for what, and who holds the slots: as the API shows it. Of a function no more than
 * `limits.queueCountMax` entries are looked at, whichever they are, so that a flood is shown as quickly as a few.
 */
import { concurrencySlotPrefix, limits, parseSlot, singletonSlotPrefix } from '@ironflow/schema';
import type { FlowControl, FlowRule, Queue, QueueSummary, Slot } from '@ironflow/schema';
import type { Queryable, Statement } from './database.js';
import { msOf, obstacleOfLane } from './waiting-runs.js';

export async function listQueues(transaction: Queryable, environmentId: string): Promise<QueueSummary[]> {
  const functions = await transaction.query<FunctionRow>(functionsStatement, [environmentId]);
  const groups = await transaction.query<GroupRow>(groupsStatement, [
    environmentId,
    functions.map(({ id }) => id),
  ]);
  return functions.map((row) =>
    summaryOf(
      row,
      groups.filter((group) => group.function_id === row.id),
    ),
  );
}

export async function readQueue(
  transaction: Queryable,
  environmentId: string,
  functionId: string,
): Promise<Queue | undefined> {
  const [row] = await transaction.query<FunctionRow>(functionStatement, [environmentId, functionId]);
  if (row === undefined) return undefined;
  const groups = await transaction.query<GroupRow>(groupsStatement, [environmentId, [functionId]]);
  const awaited = groups.flatMap(({ blocked_by: slot }) => slot ?? []);
  const slots = await transaction.query<SlotRow>(slotsStatement, [environmentId, functionId, awaited]);
  return {
    ...summaryOf(row, groups),
    groups: groups.slice(0, limits.queueGroupsMax).map(toGroup),
    slots: slots.flatMap((slot) => toSlot(slot, functionId, row.config)),
  };
}

interface FunctionRow {
  id: string;
  config: FlowControl;
  paused_at: Date | null;
}

/** Runs that wait for the same: those of a lane, or the one that is held for a debounce or a batch. */
interface GroupRow {
  function_id: string;
  /** Of those that are held. */
  held_by: 'debounce' | 'batch' | null;
  held_key: string | null;
  due_at_ms: number | null;
  blocked_by: string | null;
  ready_at_ms: number | null;
  throttle: string | null;
  now_ms: number;
  runs: number;
  events: number | null;
  since_ms: number;
}

interface SlotRow {
  slot: string;
  in_use: number;
  runs: { id: string; sinceMs: number }[];
}

function summaryOf(row: FunctionRow, groups: readonly GroupRow[]): QueueSummary {
  const waiting: QueueSummary['waiting'] = {};
  let nextAtMs = Infinity;
  for (const group of groups) {
    const { rule, untilMs } = reasonOf(group);
    const name = countNameOf(rule);
    waiting[name] = (waiting[name] ?? 0) + group.runs;
    nextAtMs = Math.min(nextAtMs, untilMs ?? Infinity);
  }
  return {
    functionId: row.id,
    ...(row.paused_at === null ? {} : { pausedAt: row.paused_at.toISOString() }),
    waiting,
    ...(nextAtMs === Infinity ? {} : { nextAt: new Date(nextAtMs).toISOString() }),
  };
}

/** Nobody waits for an idempotency key or a rate limit: those skip. */
function countNameOf(rule: FlowRule | undefined): keyof QueueSummary['waiting'] {
  return rule === undefined || rule === 'idempotency' || rule === 'rate_limit' ? 'ready' : rule;
}

function toGroup(group: GroupRow): Queue['groups'][number] {
  const { rule, key = '', untilMs } = reasonOf(group);
  return {
    ...(rule === undefined ? {} : { rule }),
    ...(key === '' ? {} : { key }),
    runs: group.runs,
    ...(group.events === null ? {} : { events: group.events }),
    since: new Date(group.since_ms).toISOString(),
    ...(untilMs === undefined ? {} : { until: new Date(untilMs).toISOString() }),
  };
}

function reasonOf(group: GroupRow): { rule?: FlowRule; key?: string | undefined; untilMs?: number } {
  if (group.held_by !== null) {
    const key = group.held_key ?? '';
    return { rule: group.held_by, key, ...(group.due_at_ms === null ? {} : { untilMs: group.due_at_ms }) };
  }
  const { blocked_by: blockedBy, ready_at_ms: readyAtMs, throttle, now_ms: nowMs } = group;
  return obstacleOfLane({ blockedBy, readyAtMs, throttle, nowMs }) ?? {};
}

function toSlot(row: SlotRow, functionId: string, config: FlowControl): Queue['slots'] {
  const slot = parseSlot(row.slot);
  if (slot === undefined) return [];
  const { rule, scope, key } = slot;
  const limit = limitOf(slot, functionId, config);
  return [
    {
      rule,
      scope,
      ...(key === '' ? {} : { key }),
      inUse: row.in_use,
      ...(limit === undefined ? {} : { limit }),
      runs: row.runs.map(({ id, sinceMs }) => ({ id, since: new Date(sinceMs).toISOString() })),
    },
  ];
}

function limitOf({ prefix }: Slot, functionId: string, config: FlowControl): number | undefined {
  if (config.singleton !== undefined && prefix === singletonSlotPrefix(functionId)) return 1;
  return config.concurrency?.find((rule) => concurrencySlotPrefix(functionId, rule) === prefix)?.limit;
}

const functionsStatement: Statement = {
  name: 'functions_with_queues',
  text: `select id, config, paused_at from functions f where environment_id = $1 and (paused_at is not null
      or exists (select from queue_entries q where q.environment_id = f.environment_id and q.function_id = f.id
        and q.state in ('held', 'queued')))
    order by id`,
};

const functionStatement: Statement = {
  name: 'function_with_queue',
  text: 'select id, config, paused_at from functions where environment_id = $1 and id = $2',
};

const groupsStatement: Statement = {
  name: 'queue_groups',
  text: `select e.function_id, e.held_by, e.held_key, max(${msOf('e.due_at')}) as due_at_ms, l.blocked_by,
      ${msOf('l.ready_at')} as ready_at_ms, l.throttle, ${msOf('now()')} as now_ms, count(*)::int as runs,
      case when e.held_by = 'batch' then (
        select count(*)::int from run_events b where b.run_id = (array_agg(e.run_id))[1]) end as events,
      min(${msOf('e.received_at')}) as since_ms
    from unnest($2::text[]) as f (id)
    cross join lateral (
      select run_id, function_id, lane, due_at, received_at,
        case when state = 'held' then case when keys ->> 'debounce' is null then 'batch' else 'debounce' end end
          as held_by,
        case when state = 'held' then coalesce(keys ->> 'debounce', keys ->> 'batch') end as held_key
      from queue_entries where environment_id = $1 and function_id = f.id and state in ('held', 'queued')
      limit ${limits.queueCountMax}
    ) e
    left join queue_lanes l on l.environment_id = $1 and l.lane = e.lane and e.held_by is null
    group by e.function_id, e.held_by, e.held_key, l.lane, l.blocked_by, l.ready_at, l.throttle
    order by since_ms`,
};

const slotsStatement: Statement = {
  name: 'queue_slots',
  text: `with named as (
      select slot from slots where environment_id = $1 and (
        starts_with(slot, 'concurrency:' || $2 || ':') or starts_with(slot, 'singleton:' || $2 || ':')
        or run_id in (select run_id from queue_entries where environment_id = $1 and function_id = $2
          and state in ('admitted', 'resting')))
      union select unnest($3::text[])
      order by 1 limit ${limits.queueGroupsMax}
    )
    select slot, (select count(*)::int from slots s where s.environment_id = $1 and s.slot = named.slot) as in_use,
      coalesce((
        select json_agg(json_build_object('id', h.run_id, 'sinceMs', h.since_ms) order by h.since_ms)
        from (
          select run_id, ${msOf('taken_at')} as since_ms from slots s
          where s.environment_id = $1 and s.slot = named.slot order by taken_at limit ${limits.slotRunsMax}
        ) h
      ), '[]') as runs
    from named`,
};

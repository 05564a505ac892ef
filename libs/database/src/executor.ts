/**
 * What an executor reads before it calls a function: every run of a batch, with its event and its memo, in
 * one statement. What happened goes into the journal; all that it writes here are outputs too large for that, and what
 * loggers wrote.
 */
import { limits } from '@ironflow/schema';
import type {
  DeliveredEvent,
  Failure,
  MemoizedStep,
  Mismatch,
  Pin,
  RunStatus,
  Scope,
  StopOutcome,
  StoredEvent,
} from '@ironflow/schema';
import { readClaimedOutputs, storeClaimedOutputs } from './claimed-outputs.js';
import type { ClaimKey, OutputToClaim } from './claimed-outputs.js';
import type { Database, Statement } from './database.js';
import { boundsOf } from './id-windows.js';
import { storeLogLines } from './run-logs.js';
import type { NewLogLine } from './run-logs.js';
import { scopeColumns } from './run-to-activate.js';

export interface RunState {
  runId: string;
  scope: Scope;
  appId: string;
  functionId: string;
  /** To which build. */
  pin?: Pin;
  status: RunStatus;
  wake: number;
  served: number;
  failures: number;
  /** Somebody asked for it: nothing more is to be called. */
  stopRequested: boolean;
  /** It holds slots of flow control while it is called. */
  limited: boolean;
  /** Flow control has let it go on; absent where there is none. */
  admitted?: boolean;
  /** It has begun: its function was called for. */
  begun: boolean;
  /** It is too late for it to begin. */
  startExpired: boolean;
  /** How it will end, once what it had registered is undone. */
  stopping?: StopOutcome;
  /** For how long its function was at work. */
  activeMs: number;
  journalSeq: number;
  registryVersion: number;
  /** Outputs and errors of `steps`, as UTF-8. Beyond `limits.runMemoBytesMax` only compensations are read. */
  memoBytes: number;
  /**
   * The last attempt of each: first those that settled with a place, in order, then the sleeps that timers ended, in the
   * order of their ends. A replay lets a sleep settle in the next place that no step has taken.
   */
  steps: MemoizedStep[];
  /** What of its record is known not to fit its function's code. */
  mismatch?: Mismatch;
  event: Omit<StoredEvent, 'scope' | 'awaited'>;
  /** Of a batch: those after the first, in order. A rerun of one has its own event in the place of the first. */
  laterEvents: DeliveredEvent[];
  traceparent?: string;
}

export interface ExecutorStore {
  /** Runs that do not exist are missing from the answer. */
  loadRuns(runIds: readonly string[]): Promise<Map<string, RunState>>;
  /** Those of the runs that somebody asked to stop. */
  stopRequested(runIds: readonly string[]): Promise<string[]>;
  /** In the order of the outputs: whether each is stored. One that is not is refused for what it is. */
  storeClaimed(outputs: readonly OutputToClaim[]): Promise<boolean[]>;
  /** In the order of the keys, also once their entries were accepted; `undefined` for one that is nowhere. */
  readClaimed(keys: readonly ClaimKey[]): Promise<(string | undefined)[]>;
  /** Of a run no more than so many. Answers how many are new. */
  storeLogLines(lines: readonly NewLogLine[], linesPerRunMax: number): Promise<number>;
}

export function createExecutorStore(database: Database): ExecutorStore {
  return {
    loadRuns: async (runIds) => {
      if (runIds.length === 0) return new Map();
      const { lowest, highest } = boundsOf(runIds);
      const rows = await database.query<RunRow>(loadStatement, [
        [...new Set(runIds)],
        lowest,
        highest,
        limits.runMemoBytesMax,
      ]);
      return new Map(rows.map((row) => [row.id, toRunState(row)]));
    },
    stopRequested: async (runIds) => {
      if (runIds.length === 0) return [];
      const { lowest, highest } = boundsOf(runIds);
      const rows = await database.query<{ id: string }>(stopRequestedStatement, [runIds, lowest, highest]);
      return rows.map(({ id }) => id);
    },
    storeClaimed: (outputs) => storeClaimedOutputs(database, outputs),
    readClaimed: (keys) => readClaimedOutputs(database, keys),
    storeLogLines: (lines, linesPerRunMax) => storeLogLines(database, lines, linesPerRunMax),
  };
}

/** A run that repeats another is no batch itself: its events are those of the one that the repetitions began with. */
const laterEventsOf = (run: string): string => `
    with recursive repeated as (
      select ${run}.id, ${run}.rerun_of
    union all
      select before.id, before.rerun_of from repeated
      cross join lateral (select id, rerun_of from runs where runs.id = repeated.rerun_of offset 0) before
    )
    select json_agg(json_build_array(later.id, name, data, version, correlation_id, received_at_ms) order by place)
    from repeated join run_events b on b.run_id = repeated.id and b.place > 0
    cross join lateral (
      select id, name, data::text, version, correlation_id,
        (extract(epoch from received_at) * 1000)::float8 as received_at_ms
      from events where events.id = b.event_id and events.environment_id = ${run}.environment_id offset 0
    ) later`;

const stopRequestedStatement: Statement = {
  name: 'stop_requested',
  text: `select id from runs
    where id = any($1::uuid[]) and id >= $2 and id <= $3 and stop_requested_at is not null`,
};

// Each part is a lateral subquery that the planner cannot merge (offset 0): one index lookup a run, in its
// partition only. Outputs travel as text within the JSON of the steps: parsing and printing them again would
// change some. A memo is one value of the answer, and one too long to be a string would end the process: it is
// weighed before it is put together. What an undoing returned is no part of it: those of a run are not bounded.
// Batches are looked for only where there can be one.
const loadStatement: Statement = {
  name: 'load_runs',
  text: `select r.id, r.environment_id, ${scopeColumns}, r.app_id, r.function_id, r.status,
      r.wake, r.served, r.failures, r.stop_requested_at is not null as stop_requested,
      r.started_at is not null as begun, r.start_expired_at is not null as start_expired,
      r.stopping_as, case when r.stopping_as = 'failed' then r.error end as stopping_error,
      r.active_ms::float8 as active_ms,
      r.journal_seq::float8 as journal_seq, e.registry_version, r.traceparent, r.mismatch, r.build_id, r.pinned_after,
      s.steps, coalesce(s.memo_bytes, 0)::float8 as memo_bytes,
      v.id as event_id, v.name as event_name, v.data, v.version, v.source, v.correlation_id, v.causation_id,
      v.traceparent as event_traceparent, v.received_at_ms,
      case when r.limited or r.rerun_of is not null then (${laterEventsOf('r')}) end as later_events,
      r.limited, case when r.limited then coalesce((
        select q.state = 'admitted' from queue_entries q where q.run_id = r.id), true) end as admitted
    from unnest($1::uuid[]) as i (id)
    cross join lateral (
      select id, environment_id, event_id, app_id, function_id, status, wake, served, failures, journal_seq,
        traceparent, stop_requested_at, started_at, start_expired_at, rerun_of, limited, stopping_as, error, active_ms, mismatch, build_id,
        pinned_after
      from runs where runs.id = i.id and runs.id >= $2 and runs.id <= $3 offset 0
    ) r
    join environments e on e.id = r.environment_id
    cross join lateral (
      select id, name, data::text, version, source, correlation_id, causation_id, traceparent,
        (extract(epoch from received_at) * 1000)::float8 as received_at_ms
      from events where events.id = r.event_id offset 0
    ) v
    left join lateral (
      select max(memo_bytes) as memo_bytes,
        json_agg(json_build_array(step_id, type, attempt, status, output, error, settle_order)
          order by settle_order, ended_at, due_at, step_id)
            filter (where memo_bytes <= $4 or type = 'compensate') as steps
      from (
        select *, sum(coalesce(octet_length(output), 0) + coalesce(octet_length(error::text), 0))
          over () as memo_bytes
        from (
          select distinct on (step_id) step_id, type, attempt, status,
            case when type <> 'compensate' then output::text end as output, error, settle_order, ended_at, due_at
          from steps where run_id = r.id and (r.journal_seq > 0 or r.rerun_of is not null)
          order by step_id, attempt desc
        ) last_attempts
      ) weighed
    ) s on true`,
};

type EventTuple = [
  DeliveredEvent['id'],
  DeliveredEvent['name'],
  DeliveredEvent['data'],
  string | null,
  DeliveredEvent['correlationId'],
  DeliveredEvent['receivedAtMs'],
];

type StepTuple = [
  MemoizedStep['id'],
  MemoizedStep['type'],
  MemoizedStep['attempt'],
  MemoizedStep['status'],
  string | null,
  MemoizedStep['error'] | null,
  number | null,
];

interface RunRow {
  id: string;
  environment_id: string;
  project: string;
  env: string;
  app_id: string;
  function_id: string;
  status: RunStatus;
  wake: number;
  served: number;
  failures: number;
  stop_requested: boolean;
  begun: boolean;
  limited: boolean;
  admitted: boolean | null;
  start_expired: boolean;
  stopping_as: StopOutcome['kind'] | null;
  stopping_error: Failure | null;
  active_ms: number;
  journal_seq: number;
  registry_version: number;
  traceparent: string | null;
  mismatch: Mismatch | null;
  build_id: string | null;
  pinned_after: number | null;
  steps: StepTuple[] | null;
  memo_bytes: number;
  event_id: string;
  event_name: string;
  data: string;
  version: string | null;
  source: StoredEvent['source'];
  correlation_id: string;
  causation_id: string | null;
  event_traceparent: string | null;
  received_at_ms: number;
  later_events: EventTuple[] | null;
}

function toRunState(row: RunRow): RunState {
  return {
    runId: row.id,
    scope: { environmentId: row.environment_id, project: row.project, env: row.env },
    appId: row.app_id,
    functionId: row.function_id,
    status: row.status,
    wake: row.wake,
    served: row.served,
    failures: row.failures,
    stopRequested: row.stop_requested,
    begun: row.begun,
    limited: row.limited,
    ...(row.admitted === null ? {} : { admitted: row.admitted }),
    startExpired: row.start_expired,
    ...stoppingOf(row),
    activeMs: row.active_ms,
    journalSeq: row.journal_seq,
    registryVersion: row.registry_version,
    memoBytes: row.memo_bytes,
    steps: (row.steps ?? []).map(toMemoizedStep),
    event: {
      id: row.event_id,
      name: row.event_name,
      data: row.data,
      source: row.source,
      receivedAtMs: row.received_at_ms,
      correlationId: row.correlation_id,
      ...(row.version === null ? {} : { version: row.version }),
      ...(row.causation_id === null ? {} : { causationId: row.causation_id }),
      ...(row.event_traceparent === null ? {} : { traceparent: row.event_traceparent }),
    },
    laterEvents: (row.later_events ?? []).map(toDeliveredEvent),
    ...(row.traceparent === null ? {} : { traceparent: row.traceparent }),
    ...(row.mismatch === null ? {} : { mismatch: row.mismatch }),
    ...(row.build_id === null ? {} : { pin: { buildId: row.build_id, servedBefore: row.pinned_after ?? 0 } }),
  };
}

function stoppingOf({ stopping_as: kind, stopping_error: error }: RunRow): Pick<RunState, 'stopping'> {
  if (kind === null) return {};
  return { stopping: kind === 'cancelled' ? { kind } : { kind, error: error! } };
}

function toDeliveredEvent([
  id,
  name,
  data,
  version,
  correlationId,
  receivedAtMs,
]: EventTuple): DeliveredEvent {
  return { id, name, data, ...(version === null ? {} : { version }), receivedAtMs, correlationId };
}

function toMemoizedStep([id, type, attempt, status, output, error, order]: StepTuple): MemoizedStep {
  return {
    id,
    type,
    attempt,
    status,
    ...(order === null ? {} : { order }),
    ...(output === null ? {} : { output }),
    ...(error === null || error === undefined ? {} : { error }),
  };
}

/**
 * How PostgreSQL accepts what journals say: a batch of runs, each moved along its chain, in one statement, so one file.
 *
 * 1. A run moves only from the position that the entries follow (`journal_seq = prev`) and never out of a
 *    terminal state.
 * 2. Its steps, timers, waits and state are one commit; those of a run that did not move are not stored.
 * 3. Runs are locked in the order of their ids, and their timers and waits under that lock (see timers.ts, waits.ts).
 * 4. A step's first accepted wait fixes when it is due, by PostgreSQL's clock.
 * 5. A retry of the run itself serves every reason to run that there is: nothing calls the function before it is due, and
 *    what came meanwhile is found then (see timers.ts). A run that was asked to stop does not wait for it.
 * 6. A run that begins to stop has nothing left to wait for but what it undoes, and its own retry holds from then on.
 * 7. A run that becomes `failed` leaves a dead letter, and an event that tells of it, in the same commit.
 * 8. An output that an entry claims is taken over from where its executor stored it (claimed-outputs.ts).
 */
import { randomBytes } from 'node:crypto';
import { createId, isTerminal, systemEventNames } from '@ironflow/schema';
import type {
  DeadLetter,
  Failure,
  JournaledStep,
  Mismatch,
  NotCompensated,
  OutputClaim,
  Pin,
  RunMode,
  RunStatus,
  Scope,
  StopOutcome,
} from '@ironflow/schema';
import { keyColumns, runStep } from './claimed-outputs.js';
import type { ClaimKey } from './claimed-outputs.js';
import type { Database, Statement } from './database.js';
import { storeDeadLetters } from './dead-letters.js';
import { boundsOf } from './id-windows.js';
import { laneColumnOf, scopeColumns } from './run-to-activate.js';
import { readScopes } from './scopes.js';
import { stepColumns, waitColumns } from './step-columns.js';
import type { RecordedSteps } from './step-columns.js';

/** What consecutive journal messages of one run amount to. */
export interface RunProgress {
  runId: string;
  environmentId: string;
  /** The position that the first of them follows, and the last one's own. */
  prev: number;
  journalSeq: number;
  steps: readonly JournaledStep[];
  /** Kept as it is when absent; `waiting` becomes `queued` when there are wake-ups beyond `served`. */
  status?: RunStatus | undefined;
  served?: number | undefined;
  /** Absolute. */
  failures?: number | undefined;
  /** When its function was first called for; absent where it was only put off. */
  startedAtMs?: number | undefined;
  /** JSON text. */
  output?: string | undefined;
  outputClaim?: OutputClaim | undefined;
  error?: Failure | undefined;
  skipReason?: string | undefined;
  /** Why it was put off, if nothing came after that. */
  deferredReason?: string | undefined;
  /** A run that is pinned already stays where it is. */
  pin?: Pin | undefined;
  /** All that is known of it by now. */
  mismatch?: Mismatch | undefined;
  /** It begins to stop, and will be this. */
  stopping?: StopOutcome['kind'] | undefined;
  notCompensated?: readonly NotCompensated[] | undefined;
  /** Its last call may go on for so long: slots are kept for it. */
  callEndsInMs?: number | undefined;
  /** To be added to what its function has taken. */
  activeMs?: number | undefined;
  /** A timer of the run itself, for which all its wake-ups wait; the last one given holds. */
  retryInMs?: number | undefined;
}

export interface AcceptedRun {
  runId: string;
  scope: Scope;
  eventId: string;
  functionId: string;
  appId: string;
  mode: RunMode;
  /** Of the lane on which it is activated now. */
  buildId?: string;
  status: RunStatus;
  journalSeq: number;
  wake: number;
  served: number;
  /** Of the earliest timer that came with it. */
  nextDueInMs?: number;
  /** It has ended, and these runs wait for that. */
  awaitedBy?: string[];
  /** Flow control decides when it goes on. */
  limited?: true;
  /** It is activated on the lane of its environment. */
  bulk?: true;
  /** Slots that it gave back. */
  freed?: string[];
  /** The event that tells that it has failed, still to be routed. */
  failureEventId?: string;
  correlationId: string;
  traceparent?: string;
  createdAtMs: number;
  startedAtMs: number;
  endedAtMs?: number;
}

export interface CollectorStore {
  /** Progresses that `apply` takes at once. */
  readonly applyMax: number;
  /**
   * One statement, at most one progress for each run. Runs that are not answered were not accepted: see
   * `positions`.
   */
  apply(batch: readonly RunProgress[]): Promise<AcceptedRun[]>;
  /** Where runs stand; those that do not exist are missing. */
  positions(runIds: readonly string[]): Promise<Map<string, AcceptedRun>>;
  /** The highest position of a run that has not ended; 0 if there is none. */
  highestJournalSequence(): Promise<number>;
  /** Each once, by its id. */
  storeDeadLetters(letters: readonly DeadLetter[]): Promise<void>;
  /** Those that do not exist are missing. */
  scopes(environmentIds: readonly string[]): Promise<Map<string, Scope>>;
}

export function createCollectorStore(database: Database): CollectorStore {
  return {
    applyMax: runsPerStatementMax,
    apply: (batch) => apply(database, batch),
    positions: async (runIds) => {
      if (runIds.length === 0) return new Map();
      const { lowest, highest } = boundsOf(runIds);
      const rows = await database.query<AcceptedRow>(positionsStatement, [runIds, lowest, highest]);
      return new Map(rows.map((row) => [row.id, toAcceptedRun(row)]));
    },
    highestJournalSequence: async () => {
      const [row] = await database.query<{ highest: number }>(highestStatement, []);
      return row!.highest;
    },
    storeDeadLetters: (letters) => storeDeadLetters(database, letters),
    scopes: (environmentIds) => readScopes(database, environmentIds),
  };
}

/**
 * PostgreSQL joins what it is given by comparing each with each when it has planned for few: 35 ms at 500,
 * 430 at 2,000.
 */
const runsPerStatementMax = 500;
const failureEventDataBytesMax = 256 * 1024;

async function apply(database: Database, batch: readonly RunProgress[]): Promise<AcceptedRun[]> {
  // More would be more commits: those before one that fails would be done, and nobody would know of them.
  if (batch.length > runsPerStatementMax)
    throw new Error(`a batch holds ${runsPerStatementMax} runs at most`);
  const runs = [...batch].sort((a, b) => (a.runId < b.runId ? -1 : 1));
  if (new Set(runs.map((run) => run.runId)).size !== runs.length) {
    throw new Error('a batch holds one progress for each run');
  }
  const recorded = runs.map(recordedStepsOf);
  const failing = runs.filter(({ status }) => status === 'failed');
  const waits = waitColumns(recorded);
  const claims = claimsOf(runs);
  const stops = runs.filter((run) => (run.stopping ?? run.notCompensated) !== undefined);
  const isOrdinary =
    failing.length === 0 &&
    waits[0]!.length === 0 &&
    claims.length === 0 &&
    stops.length === 0 &&
    runs.every(isPlain);
  const values = applyValues(runs, recorded);
  const rows = isOrdinary
    ? await database.query<AcceptedRow>(applyStatement, values)
    : await database.query<AcceptedRow>(applyAnyStatement, [
        ...values,
        failing.map(({ runId }) => runId),
        failing.map(() => createId(Date.now(), randomBytes(10))),
        ...waits,
        ...keyColumns(claims),
        runs.map(({ mismatch }) => (mismatch === undefined ? null : JSON.stringify(mismatch))),
        stops.map(({ runId }) => runId),
        stops.map(({ stopping }) => stopping ?? null),
        stops.map(({ notCompensated: left }) => (left === undefined ? null : JSON.stringify(left))),
        runs.map(({ pin }) => pin?.buildId ?? null),
        runs.map(({ pin }) => pin?.servedBefore ?? null),
        runs.map(({ skipReason }) => skipReason ?? null),
        runs.map(({ deferredReason }) => deferredReason ?? null),
        runs.map(({ callEndsInMs }) => callEndsInMs ?? null),
      ]);
  return rows.map(toAcceptedRun);
}

function isPlain({ mismatch, pin, skipReason, deferredReason, callEndsInMs }: RunProgress): boolean {
  return (mismatch ?? pin ?? skipReason ?? deferredReason ?? callEndsInMs) === undefined;
}

const acceptedColumns = `r.id, r.environment_id, r.event_id, r.function_id, r.app_id, r.mode, r.status,
  r.journal_seq::float8 as journal_seq, r.wake, r.served, ${laneColumnOf('r')}, r.correlation_id, r.traceparent,
  (extract(epoch from r.created_at) * 1000)::float8 as created_at_ms,
  (extract(epoch from r.started_at) * 1000)::float8 as started_at_ms,
  (extract(epoch from r.ended_at) * 1000)::float8 as ended_at_ms`;

// What is updated is found by an array of keys and their bounds, and only then joined: an index lookup for
// each in the partitions concerned, whatever the planner thinks of tables that were empty when it planned.
// The array of locked ids also makes it take all locks first.
function applyStatementFor(batches: 'ordinary' | 'any'): Statement {
  const isOrdinary = batches === 'ordinary';
  const heedsStop = `r.stop_requested_at is not null and ${
    isOrdinary ? 'r.stopping_as' : 'coalesce(r.stopping_as, st.stopping_as)'
  } is null`;
  return {
    name: isOrdinary ? 'apply_progress' : 'apply_any',
    text: `with ${isOrdinary ? '' : claimedOutputs}locked as materialized (
    select id from runs where id = any($1::uuid[]) and id >= $26 and id <= $27 order by id for update
  ), accepted as (
    update runs r set
      journal_seq = g.journal_seq,
      status = case
        when g.status = 'waiting' and (g.retry_in_ms is null or (${heedsStop}))
          and r.wake > greatest(r.served, g.served) then 'queued'
        else coalesce(g.status, r.status) end,
      served = greatest(r.served, g.served,
        case when g.retry_in_ms is not null and not (${heedsStop}) then r.wake end),
      failures = coalesce(g.failures, r.failures),
      started_at = coalesce(r.started_at, to_timestamp(g.started_at_ms / 1000)),
      ended_at = case when g.status in ('completed', 'failed', 'cancelled', 'skipped')
        then date_trunc('milliseconds', now()) end,
      output = coalesce(g.output::json, ${isOrdinary ? '' : 'c.output, c.hash::json, '}r.output),
      error = coalesce(g.error::json, r.error),
      active_ms = r.active_ms + coalesce(g.active_ms, 0)
      ${isOrdinary ? '' : rareColumns}
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::int[], $7::int[],
      $8::float8[],
        $9::text[], $10::text[], $11::float8[],
        $28::bigint[]${isOrdinary ? '' : ', $46::text[], $50::text[], $51::int[], $52::text[], $53::text[], $54::int[]'})
      as g (id, environment_id, prev, journal_seq, status, served, failures, started_at_ms, output, error,
        retry_in_ms, active_ms${isOrdinary ? '' : ', mismatch, build_id, pinned_after, skip_reason, deferred_reason, call_ends_in_ms'})
      ${isOrdinary ? '' : "left join claimed c on c.run_id = g.id and c.step_id = ''"}
      ${isOrdinary ? '' : joinedStops}
    where r.id = any(array(select id from locked)) and r.id >= $26 and r.id <= $27
      and r.id = g.id and r.environment_id = g.environment_id and r.journal_seq = g.prev
      and r.status in ('queued', 'running', 'waiting', 'waiting_for_worker')
    returning r.id, r.environment_id, r.event_id, r.function_id, r.app_id, r.mode, r.status, r.journal_seq,
      r.wake,
      r.served, r.limited, r.bulk, r.build_id, r.pinned_after, r.correlation_id, r.traceparent, r.created_at, r.started_at, r.ended_at,
      g.retry_in_ms, g.served is not null as activation_ended
      ${isOrdinary ? '' : ', r.error, r.not_compensated, st.stopping_as is not null as begins_to_stop, g.call_ends_in_ms'}
  ), stored as (
    insert into steps (run_id, step_id, attempt, environment_id, name, type, status, output, error,
      started_at, ended_at,
      settle_order, due_at, awaited_run_id)
    select s.run_id, s.step_id, s.attempt, a.environment_id, s.name, s.type, s.status,
      ${isOrdinary ? 's.output::json' : 'coalesce(s.output::json, c.output, c.hash::json)'},
      s.error::json,
      to_timestamp(s.started_at_ms / 1000), to_timestamp(s.ended_at_ms / 1000),
      s.settle_order, coalesce(now() + s.due_in_ms * interval '1 ms', to_timestamp(s.due_at_ms / 1000)),
      s.awaited_run_id
    from unnest($12::uuid[], $13::text[], $14::int[], $15::text[], $16::text[], $17::text[], $18::text[],
      $19::text[],
        $20::float8[], $21::float8[], $22::int[], $23::float8[], $24::float8[], $25::uuid[])
      as s (run_id, step_id, attempt, name, type, status, output, error, started_at_ms, ended_at_ms,
        settle_order, due_in_ms, due_at_ms, awaited_run_id)
    join accepted a on a.id = s.run_id
    ${isOrdinary ? '' : 'left join claimed c on c.run_id = s.run_id and c.step_id = s.step_id and c.attempt = s.attempt'}
    on conflict (run_id, step_id, attempt) do nothing
    returning run_id, step_id, attempt, environment_id, due_at
  ), armed as (
    insert into timers (run_id, step_id, attempt, environment_id, due_at)
    select run_id, step_id, attempt, environment_id, due_at from stored where due_at is not null
    union all
    select id, '', 0, environment_id, now() + retry_in_ms * interval '1 ms' from accepted
    where retry_in_ms is not null
    on conflict (run_id, step_id) do update set attempt = excluded.attempt, due_at = excluded.due_at
      where excluded.attempt > timers.attempt or timers.step_id = ''
    returning run_id, due_at
  ${isOrdinary ? '' : newWaits}  ), disarmed as (
    delete from timers where run_id = any(array(select id from accepted where ended_at is not null))
      ${isOrdinary ? '' : orItsRunStops}
  ), unanswered as (
    delete from waits where run_id = any(array(
      select id from accepted where ended_at is not null ${isOrdinary ? '' : 'or begins_to_stop'}))
  ), untaken as (
    delete from signals where run_id = any(array(select id from accepted where ended_at is not null))
  ), ${givenBack(isOrdinary ? '' : ' and call_ends_in_ms is null')}${isOrdinary ? '' : keptForCalls}
  )${isOrdinary ? '' : takenOver + tracesOfFailures}
  select ${acceptedColumns}, ${scopeColumns}, (
      select (extract(epoch from min(due_at) - clock_timestamp()) * 1000)::float8 from armed where run_id = r.id
    ) as next_due_in_ms, (
      select array_agg(w.run_id) from waits w
      where r.ended_at is not null and w.kind = 'run' and w.awaited_run_id = r.id
    ) as awaited_by,
    ${freedByRun} as freed, ${isOrdinary ? 'null::uuid' : failureEventOfRun} as failure_event_id
  from accepted r join environments e on e.id = r.environment_id`,
  };
}

/** One whose text is not there is no JSON, and refused like any other data. Only what is accepted is looked at: what comes again has been taken over. */
const claimedOutputs = `claimed as materialized (
    select g.run_id, g.step_id, g.attempt, g.hash, (
      select o.output from claimed_outputs o
      where o.run_id = g.run_id and o.step_id = g.step_id and o.attempt = g.attempt and o.hash = g.hash
    ) as output
    from unnest($42::uuid[], $43::text[], $44::int[], $45::text[]) as g (run_id, step_id, attempt, hash)
  ), `;
const takenOver = `, taken_over as (
    delete from claimed_outputs o using claimed c join accepted a on a.id = c.run_id
    where o.run_id = any($42::uuid[]) and o.run_id = c.run_id and o.step_id = c.step_id and o.attempt = c.attempt
      and o.hash = c.hash
  )`;
/** Of runs with flow control: slots are free and entries rest or go, in the commit that accepts the end. */
const givenBack = (unlessKept: string): string => `resting as (
    update queue_entries set state = 'resting'
    where run_id = any(array(select id from accepted where limited and activation_ended and ended_at is null))
      and state = 'admitted'
  ), left_queue as (
    delete from queue_entries where run_id = any(array(select id from accepted where limited and ended_at is not null))
  ), freed as (
    delete from slots
    where run_id = any(array(select id from accepted
        where limited and (activation_ended or ended_at is not null)${unlessKept}))
      and (not kept or run_id = any(array(select id from accepted where limited and ended_at is not null)))
    returning run_id, slot`;
// What the run keeps until it ends is free with the call that may go on after it.
const keptForCalls = `
  ), kept_for_calls as (
    update slots s set leased_until = now() + a.call_ends_in_ms * interval '1 ms' from accepted a
    where s.run_id = any(array(select id from accepted where limited and call_ends_in_ms is not null))
      and s.run_id = a.id and (not s.kept or a.ended_at is not null)`;
const freedByRun =
  'case when r.limited then (select array_agg(slot) from freed where freed.run_id = r.id) end';
const rareColumns = `, mismatch = coalesce(g.mismatch::json, r.mismatch),
      build_id = coalesce(r.build_id, g.build_id),
      pinned_after = coalesce(r.pinned_after, g.pinned_after),
      skip_reason = coalesce(r.skip_reason, g.skip_reason),
      deferred_reason = coalesce(g.deferred_reason, r.deferred_reason),
      deferred_seq = case when g.deferred_reason is null then r.deferred_seq else g.journal_seq end,
      stopping_as = coalesce(r.stopping_as, st.stopping_as),
      not_compensated = coalesce(st.not_compensated::json, r.not_compensated)`;
const joinedStops = `left join unnest($47::uuid[], $48::text[], $49::text[])
      as st (id, stopping_as, not_compensated) on st.id = g.id`;

/** Its own timer is replaced, where there is a new one: a row is not changed twice by one statement. */
const orItsRunStops = `or run_id = any(array(select id from accepted where begins_to_stop))
        and not (step_id = '' and run_id = any(array(select id from accepted where retry_in_ms is not null)))`;

const newWaits = `), awaiting as (
    insert into waits (run_id, step_id, attempt, environment_id, kind, name, condition, match_path, match_value,
      match_type, awaited_run_id, place)
    select w.run_id, w.step_id, w.attempt, s.environment_id, w.kind, w.name, w.condition, w.match_path,
      w.match_value, w.match_type, w.awaited_run_id, w.place
    from unnest($31::uuid[], $32::text[], $33::int[], $34::text[], $35::text[], $36::text[], $37::text[],
        $38::text[], $39::text[], $40::uuid[], $41::int[])
      as w (run_id, step_id, attempt, kind, name, condition, match_path, match_value, match_type,
        awaited_run_id, place)
    join stored s on s.run_id = w.run_id and s.step_id = w.step_id and s.attempt = w.attempt
    on conflict (run_id, step_id) do nothing
`;

/**
 * The letter and the event that tells of it have one id. What fails because of such an event tells nobody: it could go round
 * for ever. The event that started the run is part of it unless it is large.
 */
const tracesOfFailures = `, failed as (
    select a.*, l.failure_id, v.event, v.event_name
    from accepted a join unnest($29::uuid[], $30::uuid[]) as l (run_id, failure_id) on l.run_id = a.id
    left join lateral (
      select json_build_object('id', id, 'name', name, 'version', version,
        'data', case when octet_length(data::text) <= ${failureEventDataBytesMax} then data end) as event, name as event_name
      from events where events.id = a.event_id and environment_id = a.environment_id offset 0
    ) v on true
  ), left_behind as (
    insert into dead_letters (id, environment_id, run_id, reason, detail, occurred_at)
    select failure_id, environment_id, id, 'run_failed', 'the run failed; its error says why', ended_at from failed
  ), told as (
    insert into events (id, environment_id, name, data, source, correlation_id, causation_id, traceparent)
    select failure_id, environment_id, '${systemEventNames.functionFailed}', json_build_object(
        'run', json_build_object('id', id, 'functionId', function_id, 'appId', app_id),
        'error', error, 'event', event, 'notCompensated', coalesce(not_compensated, '[]'::json)),
      'system', correlation_id, event_id::text, traceparent
    from failed where event_name is distinct from '${systemEventNames.functionFailed}'
    returning id, environment_id, received_at
  ), unrouted as (
    insert into unrouted_events (event_id, environment_id, received_at)
    select id, environment_id, received_at from told
  )`;

const failureEventOfRun =
  '(select f.failure_id from failed f join told t on t.id = f.failure_id where f.id = r.id)';

/** Failures, new waits, large outputs, mismatches and pins are few: the statement of batches without any does not know of them. */
const applyStatement = applyStatementFor('ordinary');
const applyAnyStatement = applyStatementFor('any');

function recordedStepsOf({ runId, environmentId, steps, ...run }: RunProgress): RecordedSteps {
  return { runId, environmentId, steps, ended: hasEnded(run), stops: run.stopping !== undefined };
}

function claimsOf(runs: readonly RunProgress[]): ClaimKey[] {
  const claims: ClaimKey[] = [];
  for (const { runId, outputClaim, steps } of runs) {
    if (outputClaim !== undefined) claims.push({ runId, ...runStep, hash: outputClaim.hash });
    for (const step of steps) {
      if (step.status !== 'completed' || step.outputClaim === undefined) continue;
      claims.push({ runId, stepId: step.id, attempt: step.attempt, hash: step.outputClaim.hash });
    }
  }
  return claims;
}

function applyValues(runs: readonly RunProgress[], recorded: readonly RecordedSteps[]): unknown[] {
  const ids = runs.map((run) => run.runId);
  const { lowest, highest } = boundsOf(ids);
  const column = <T>(pick: (run: RunProgress) => T): T[] => runs.map(pick);
  return [
    ids,
    column((run) => run.environmentId),
    column((run) => run.prev),
    column((run) => run.journalSeq),
    column((run) => run.status ?? null),
    column((run) => run.served ?? null),
    column((run) => run.failures ?? null),
    column((run) => run.startedAtMs ?? null),
    column((run) => run.output ?? null),
    column((run) => (run.error === undefined ? null : JSON.stringify(run.error))),
    column((run) => (hasEnded(run) ? null : (run.retryInMs ?? null))),
    ...stepColumns(recorded),
    lowest,
    highest,
    column((run) => run.activeMs ?? null),
  ];
}

function hasEnded(run: Pick<RunProgress, 'status'>): boolean {
  return run.status !== undefined && isTerminal(run.status);
}

const positionsStatement: Statement = {
  name: 'run_positions',
  text: `select ${acceptedColumns}, ${scopeColumns}, null::float8 as next_due_in_ms,
      null::uuid[] as awaited_by, null::uuid as failure_event_id from (
      select * from runs where id = any($1::uuid[]) and id >= $2 and id <= $3 offset 0
    ) r join environments e on e.id = r.environment_id`,
};

// By environment and status there is an index, and one on journal_seq would be written with every batch.
const highestStatement: Statement = {
  name: 'highest_journal_sequence',
  text: `select coalesce(max(r.highest), 0)::float8 as highest
    from environments e
    cross join unnest(array['queued', 'running', 'waiting', 'waiting_for_worker']) as live (status)
    cross join lateral (
      select max(journal_seq) as highest from runs
      where environment_id = e.id and runs.status = live.status offset 0
    ) r`,
};

interface AcceptedRow {
  id: string;
  environment_id: string;
  project: string;
  env: string;
  event_id: string;
  function_id: string;
  app_id: string;
  mode: RunMode;
  build_id: string | null;
  status: RunStatus;
  journal_seq: number;
  wake: number;
  served: number;
  correlation_id: string;
  traceparent: string | null;
  created_at_ms: number;
  started_at_ms: number | null;
  ended_at_ms: number | null;
  next_due_in_ms: number | null;
  awaited_by: string[] | null;
  failure_event_id: string | null;
  limited: boolean;
  bulk: boolean;
  freed?: string[] | null;
}

function toAcceptedRun(row: AcceptedRow): AcceptedRun {
  return {
    runId: row.id,
    scope: { environmentId: row.environment_id, project: row.project, env: row.env },
    eventId: row.event_id,
    functionId: row.function_id,
    appId: row.app_id,
    mode: row.mode,
    ...(row.build_id === null ? {} : { buildId: row.build_id }),
    status: row.status,
    journalSeq: row.journal_seq,
    wake: row.wake,
    served: row.served,
    ...(row.next_due_in_ms === null ? {} : { nextDueInMs: row.next_due_in_ms }),
    ...(row.awaited_by === null ? {} : { awaitedBy: row.awaited_by }),
    ...(row.failure_event_id === null ? {} : { failureEventId: row.failure_event_id }),
    ...(row.limited ? { limited: true, freed: row.freed ?? [] } : {}),
    ...(row.bulk ? { bulk: true } : {}),
    correlationId: row.correlation_id,
    ...(row.traceparent === null ? {} : { traceparent: row.traceparent }),
    createdAtMs: row.created_at_ms,
    // A run that never started (skipped, or still queued) has no better answer than when it was created.
    startedAtMs: row.started_at_ms ?? row.created_at_ms,
    ...(row.ended_at_ms === null ? {} : { endedAtMs: row.ended_at_ms }),
  };
}

/** One run as the API shows it, and what it may be asked: to stop, or to leave the build that it is pinned to. */
import type { Run, RunDetail, RunNotice, RunStatus, RunUpdate } from '@ironflow/schema';
import { approvalOfSignal, isTerminal, limits } from '@ironflow/schema';
import type { Queryable, Statement } from './database.js';
import { toRun, toRunUpdate, toStep } from './resource-rows.js';
import type { RunDetailRow, RunResultRow, StepRow, StepUpdateRow } from './resource-rows.js';
import { countLogLines } from './run-logs.js';
import { laneBuildOf } from './run-to-activate.js';
import { queuedColumn } from './waiting-runs.js';

export type UnpinAnswer =
  /** `resumed`: it rested for want of a worker of its build, and is to be activated. */
  | { kind: 'unpinned'; run: Run; resumed: Pick<RunNotice, 'journalSeq' | 'wake' | 'served'> | undefined }
  | { kind: 'not_found' }
  | { kind: 'active' }
  | { kind: 'ended'; status: RunStatus };

export type StopAnswer =
  /** With where it is activated now. */
  | { kind: 'requested'; run: Run; lane: { buildId?: string; bulk?: true } }
  /** It had ended before. */
  | { kind: 'ended'; status: RunStatus }
  | { kind: 'not_found' };

/** Columns of `runs`, and of one that is called r. */
export const runFacts = `id, app_id, function_id, function_hash, mode, status, skip_reason, joined_run_id, limited, event_id,
  correlation_id, error, traceparent, created_at, started_at, ended_at, stop_requested_at, rerun_of, build_id,
  stopping_as, not_compensated, deferred_reason, deferred_seq`;
/** Of a run that is called r: the name of its event, why it was put off, and when it is tried again if it waits for that. */
export const runLookups = `(select name from events where events.id = r.event_id) as event_name,
  case when r.deferred_seq = r.journal_seq then r.deferred_reason end as put_off_for,
  case when r.status = 'waiting' then (
    select due_at from timers where timers.run_id = r.id and timers.step_id = '') end as retry_at`;
export const resultColumns = 'id, function_id, status, skip_reason, joined_run_id, output::text, error';

const runStatement: Statement = {
  name: 'run_detail',
  text: `select r.*, ${runLookups}, ${queuedColumn('r')} from (
      select ${runFacts}, output::text, mismatch, ${laneBuildOf('runs')} as lane, bulk,
        journal_seq::float8 as journal_seq, wake, served
      from runs where environment_id = $1 and id = $2
    ) r`,
};
const stepFacts = `step_id, name, type, attempt, status, error, started_at, ended_at, due_at, awaited_run_id,
  awaited_event_id`;
const ofRun = 'from steps where environment_id = $1 and run_id = $2 order by started_at, step_id, attempt';
const stepsStatement: Statement = {
  name: 'run_steps',
  text: `select ${stepFacts}, output::text ${ofRun}`,
};

const invokedByStatement: Statement = {
  name: 'invoked_by',
  text: 'select run_id from steps where environment_id = $1 and awaited_run_id = $2 limit 1',
};
const stopStatement: Statement = { name: 'request_stop', text: 'select request_stop($1)' };

export async function requestStop(
  transaction: Queryable,
  environmentId: string,
  runId: string,
): Promise<StopAnswer> {
  await transaction.query(stopStatement, [runId]);
  const [row] = await transaction.query<RunDetailRow>(runStatement, [environmentId, runId]);
  if (row === undefined) return { kind: 'not_found' };
  const run = toRun(row);
  // What was cancelled before may well have ended since.
  const isStopped =
    run.status === 'cancelled' ||
    ((run.stopRequestedAt ?? run.stoppingAs) !== undefined && !isTerminal(run.status));
  if (isStopped) return { kind: 'requested', run, lane: laneOf(row) };
  if (isTerminal(run.status)) return { kind: 'ended', status: run.status };
  // It was stored between the two statements, of which each sees what was committed before it began.
  return requestStop(transaction, environmentId, runId);
}

function laneOf({ lane, bulk }: RunDetailRow): { buildId?: string; bulk?: true } {
  return { ...(lane === null ? {} : { buildId: lane }), ...(bulk ? { bulk: true } : {}) };
}

const unpinStatement: Statement = { name: 'unpin_run', text: 'select unpin_run($1) as status' };

export async function unpin(
  transaction: Queryable,
  environmentId: string,
  runId: string,
): Promise<UnpinAnswer> {
  const [found] = await transaction.query<{ status: RunStatus | null }>(unpinStatement, [runId]);
  const [row] = await transaction.query<RunDetailRow>(runStatement, [environmentId, runId]);
  if (row === undefined) return { kind: 'not_found' };
  const run = toRun(row);
  if (isTerminal(run.status)) return { kind: 'ended', status: run.status };
  if (run.buildId !== undefined) return { kind: 'active' };
  const isResumed = found?.status === 'waiting_for_worker' && run.status === 'queued';
  const { journal_seq: journalSeq, wake, served } = row;
  return { kind: 'unpinned', run, resumed: isResumed ? { journalSeq, wake, served } : undefined };
}

export async function readRun(
  transaction: Queryable,
  environmentId: string,
  runId: string,
): Promise<RunDetail | undefined> {
  const [run] = await transaction.query<RunDetailRow>(runStatement, [environmentId, runId]);
  if (run === undefined) return undefined;
  const steps = await transaction.query<StepRow>(stepsStatement, [environmentId, runId]);
  const [invoked] = await transaction.query<{ run_id: string }>(invokedByStatement, [environmentId, runId]);
  const invokedBy = invoked === undefined ? {} : { invokedBy: invoked.run_id };
  const mismatch = run.mismatch === null ? {} : { mismatch: run.mismatch };
  const batch = run.limited ? await readBatch(transaction, environmentId, runId) : {};
  const approvals = await readApprovals(transaction, { environmentId, runId, steps });
  const count = await countLogLines(transaction, environmentId, runId);
  const logLines = count === 0 ? {} : { logLines: count };
  const facts = { ...toRun(run), ...invokedBy, ...mismatch, ...batch };
  return { ...facts, steps: steps.map(toStep), ...approvals, ...logLines };
}

const batchStatement: Statement = {
  name: 'batch_of_run',
  text: `select (count(*) over ())::int as count, event_id from run_events
    where environment_id = $1 and run_id = $2 order by place limit ${limits.listedEventsMax}`,
};

async function readBatch(
  transaction: Queryable,
  environmentId: string,
  runId: string,
): Promise<Pick<RunDetail, 'batch'>> {
  const rows = await transaction.query<{ count: number; event_id: string }>(batchStatement, [
    environmentId,
    runId,
  ]);
  if (rows.length === 0) return {};
  return { batch: { count: rows[0]!.count, eventIds: rows.map((row) => row.event_id) } };
}

async function readApprovals(
  transaction: Queryable,
  { environmentId, runId, steps }: { environmentId: string; runId: string; steps: readonly StepRow[] },
): Promise<Pick<RunDetail, 'approvals'>> {
  const waiting = steps.filter(({ type, status }) => type === 'wait_for_signal' && status === 'waiting');
  if (waiting.length === 0) return {};
  const rows = await transaction.query<{ step_id: string; name: string }>(signalWaitsStatement, [
    environmentId,
    runId,
  ]);
  const approvals = rows.flatMap(({ step_id, name: signal }) => {
    const name = approvalOfSignal(signal);
    const dueAt = waiting.find((step) => step.step_id === step_id)?.due_at;
    return name === undefined ? [] : [{ name, ...(dueAt ? { dueAt: dueAt.toISOString() } : {}) }];
  });
  return approvals.length === 0 ? {} : { approvals };
}

const signalWaitsStatement: Statement = {
  name: 'signal_waits',
  text: `select step_id, name from waits
    where environment_id = $1 and run_id = $2 and kind = 'signal' order by created_at, place`,
};

const runResultStatement: Statement = {
  name: 'run_result',
  text: `select ${resultColumns} from runs where environment_id = $1 and id = $2`,
};
const stepUpdatesStatement: Statement = { name: 'run_step_updates', text: `select ${stepFacts} ${ofRun}` };

export async function readRunUpdate(
  transaction: Queryable,
  environmentId: string,
  runId: string,
): Promise<RunUpdate | undefined> {
  const [run] = await transaction.query<RunResultRow>(runResultStatement, [environmentId, runId]);
  if (run === undefined) return undefined;
  const steps = await transaction.query<StepUpdateRow>(stepUpdatesStatement, [environmentId, runId]);
  return toRunUpdate(run, steps);
}

/** Rows as the API's queries answer them, and the resources they become. Pure. */
import { parseTraceparent } from '@ironflow/schema';
import type {
  App,
  EnvironmentResource,
  Event,
  Failure,
  FunctionConfig,
  FunctionResource,
  Mismatch,
} from '@ironflow/schema';
import type { NotCompensated } from '@ironflow/schema';
import type { Run, RunMode, RunResult, RunStatus, RunUpdate, Step } from '@ironflow/schema';
import { waitingFor } from './waiting-runs.js';
import type { QueuedRow } from './waiting-runs.js';

/** Absent instead of null, and parsed here: the driver would parse a JSON `null` to the same as no value. */
export interface RunRow {
  id: string;
  app_id: string;
  function_id: string;
  function_hash: string;
  mode: RunMode;
  status: RunStatus;
  skip_reason: string | null;
  joined_run_id: string | null;
  queued: QueuedRow | null;
  event_id: string;
  event_name: string;
  correlation_id: string;
  output: string | null;
  error: Failure | null;
  traceparent: string | null;
  created_at: Date;
  started_at: Date | null;
  ended_at: Date | null;
  stop_requested_at: Date | null;
  rerun_of: string | null;
  build_id: string | null;
  stopping_as: 'failed' | 'cancelled' | null;
  not_compensated: NotCompensated[] | null;
  /** Why it was put off, if it has not gone on since. */
  put_off_for: string | null;
  /** When its own timer is due; of one that waits. */
  retry_at: Date | null;
}

export interface RunDetailRow extends RunRow {
  /** The build of the lane on which it is activated now. */
  lane: string | null;
  bulk: boolean;
  limited: boolean;
  journal_seq: number;
  wake: number;
  served: number;
  mismatch: Mismatch | null;
}

export function toRun(row: RunRow): Run {
  const traceId = parseTraceparent(row.traceparent ?? undefined)?.traceId;
  return {
    id: row.id,
    appId: row.app_id,
    functionId: row.function_id,
    functionHash: row.function_hash,
    mode: row.mode,
    ...(row.build_id === null ? {} : { buildId: row.build_id }),
    status: row.status,
    ...waitingForOf(row),
    ...(row.skip_reason === null ? {} : { skipReason: row.skip_reason }),
    ...(row.joined_run_id === null ? {} : { joinedRunId: row.joined_run_id }),
    eventId: row.event_id,
    eventName: row.event_name,
    correlationId: row.correlation_id,
    ...outcomeOf(row),
    ...(traceId === undefined ? {} : { traceId }),
    createdAt: row.created_at.toISOString(),
    ...(row.started_at === null ? {} : { startedAt: row.started_at.toISOString() }),
    ...(row.ended_at === null ? {} : { endedAt: row.ended_at.toISOString() }),
    ...(row.stop_requested_at === null ? {} : { stopRequestedAt: row.stop_requested_at.toISOString() }),
    ...(row.rerun_of === null ? {} : { rerunOf: row.rerun_of }),
    ...(row.stopping_as === null || row.ended_at !== null ? {} : { stoppingAs: row.stopping_as }),
    ...(row.not_compensated === null ? {} : { notCompensated: row.not_compensated }),
  };
}

/** Its own timer is that of a run that was put off, or whose function failed and is called again. */
function waitingForOf({ queued, retry_at: retryAt, put_off_for: reason }: RunRow): Pick<Run, 'waitingFor'> {
  const waiting = queued === null ? undefined : waitingFor(queued);
  if (waiting !== undefined) return { waitingFor: waiting };
  return retryAt === null ? {} : { waitingFor: { rule: reason ?? 'retry', until: retryAt.toISOString() } };
}

export interface RunResultRow {
  id: string;
  function_id: string;
  status: RunStatus;
  skip_reason: string | null;
  joined_run_id: string | null;
  output: string | null;
  error: Failure | null;
}

export function toRunResult(row: RunResultRow): RunResult {
  return {
    id: row.id,
    functionId: row.function_id,
    status: row.status,
    ...(row.skip_reason === null ? {} : { skipReason: row.skip_reason }),
    ...(row.joined_run_id === null ? {} : { joinedRunId: row.joined_run_id }),
    ...outcomeOf(row),
  };
}

export interface StepRow {
  step_id: string;
  name: string;
  type: Step['type'];
  attempt: number;
  status: Step['status'];
  output: string | null;
  error: Failure | null;
  started_at: Date;
  ended_at: Date | null;
  due_at: Date | null;
  awaited_run_id: string | null;
  awaited_event_id: string | null;
}

export function toStep(row: StepRow): Step {
  return {
    id: row.step_id,
    name: row.name,
    type: row.type,
    attempt: row.attempt,
    status: row.status,
    ...outcomeOf(row),
    startedAt: row.started_at.toISOString(),
    ...(row.ended_at === null ? {} : { endedAt: row.ended_at.toISOString() }),
    ...(row.due_at === null ? {} : { dueAt: row.due_at.toISOString() }),
    ...(row.awaited_run_id === null ? {} : { invokedRunId: row.awaited_run_id }),
    ...(row.awaited_event_id === null ? {} : { eventId: row.awaited_event_id }),
  };
}

export type StepUpdateRow = Omit<StepRow, 'output'>;

export function toRunUpdate(run: RunResultRow, steps: readonly StepUpdateRow[]): RunUpdate {
  return { ...toRunResult(run), steps: steps.map((step) => toStep({ ...step, output: null })) };
}

export interface EventRow {
  id: string;
  name: string;
  data: string;
  version: string | null;
  source: Event['source'];
  correlation_id: string;
  causation_id: string | null;
  received_at: Date;
}

export function toEvent(row: EventRow): Event {
  return {
    id: row.id,
    name: row.name,
    data: parseJson(row.data),
    ...(row.version === null ? {} : { version: row.version }),
    source: row.source,
    correlationId: row.correlation_id,
    ...(row.causation_id === null ? {} : { causationId: row.causation_id }),
    receivedAt: row.received_at.toISOString(),
  };
}

export interface FunctionRow {
  config: FunctionConfig;
  app_id: string;
  mode: RunMode;
  hash: string;
  status: FunctionResource['status'];
  registered_at: Date;
  paused_at: Date | null;
  concurrency_limit: number | null;
}

export function toFunction(row: FunctionRow): FunctionResource {
  return {
    ...row.config,
    appId: row.app_id,
    mode: row.mode,
    hash: row.hash,
    status: row.status,
    registeredAt: row.registered_at.toISOString(),
    ...(row.paused_at === null ? {} : { pausedAt: row.paused_at.toISOString() }),
    ...(row.concurrency_limit === null ? {} : { concurrencyLimit: row.concurrency_limit }),
  };
}

export interface EnvironmentRow {
  project: string;
  env: string;
  paused_at: Date | null;
}

export function toEnvironment(row: EnvironmentRow): EnvironmentResource {
  const { project, env, paused_at: pausedAt } = row;
  return { project, env, ...(pausedAt === null ? {} : { pausedAt: pausedAt.toISOString() }) };
}

export interface AppRow {
  id: string;
  mode: RunMode;
  url: string | null;
  sdk: string | null;
  signed_answers: boolean;
  functions: number;
  builds: App['builds'];
  registered_at: Date;
}

export function toApp(row: AppRow): App {
  return {
    id: row.id,
    mode: row.mode,
    ...(row.url === null ? {} : { url: row.url }),
    ...(row.sdk === null ? {} : { sdk: row.sdk }),
    signedAnswers: row.signed_answers,
    functions: row.functions,
    builds: row.builds,
    registeredAt: row.registered_at.toISOString(),
  };
}

function outcomeOf(row: { output: string | null; error: Failure | null }): {
  output?: unknown;
  error?: Failure;
} {
  return {
    ...(row.output === null ? {} : { output: parseJson(row.output) }),
    ...(row.error === null ? {} : { error: row.error }),
  };
}

function parseJson(text: string): unknown {
  return JSON.parse(text);
}

/**
 * A run that is kept in memory, and what scheduler, executor and Postgres do with it. The test kit stands on it, and so do
 * the tests of the replay core: they differ in who says when time passes.
 */
import { isProgress, protocolVersion, stepRecordSchema, stoppingVersion } from '@ironflow/schema';
import type {
  Failure,
  Invocation,
  MemoizedStep,
  Mismatch,
  Outcome,
  StepRecord,
  StopOutcome,
} from '@ironflow/schema';
import { startActivation } from '../replay/activation.js';
import type { Activation, ActivationOptions } from '../replay/activation.js';

export interface StoredRun {
  /** As a replay is told of them. Those that a timer or somebody outside ended stand in the order in which they did. */
  steps: Map<string, MemoizedStep>;
  /** When what waits is due, by the id of its step. */
  dueAtMs: Map<string, number>;
  /** Every record, in the order in which they were kept. */
  records: StepRecord[];
  attempt: number;
  /** What of them did not fit the function's code. */
  mismatch?: Mismatch | undefined;
  /** What it will be, once what it had registered is undone. */
  stopping: StopOutcome | undefined;
}

export const createStoredRun = (): StoredRun => ({
  steps: new Map(),
  dueAtMs: new Map(),
  records: [],
  attempt: 1,
  stopping: undefined,
});

/** Its timer is due: a sleep is over, a wait was in vain, a failed attempt can be followed by another. */
export function endWait(run: StoredRun, stepId: string): void {
  const step = run.steps.get(stepId)!;
  if (step.status === 'retrying') settle(run, stepId, { status: 'errored' });
  else if (step.type === 'sleep') settle(run, stepId, { status: 'completed' });
  else if (step.type === 'invoke') answerWait(run, stepId, { error: invokeTimedOut });
  else answerWait(run, stepId, { output: 'null' });
}

/** What a step waits for has come; `output` is JSON text. */
export function answerWait(
  run: StoredRun,
  stepId: string,
  answer: { output?: string | undefined } | { error: Failure },
): void {
  const { output, error } = { output: undefined, error: undefined, ...answer };
  settle(run, stepId, {
    status: error === undefined ? 'completed' : 'failed',
    ...(output === undefined ? {} : { output }),
    ...(error === undefined ? {} : { error }),
  });
}

const invokeTimedOut: Failure = { name: 'InvokeTimeout', message: 'the invoked run did not end in time' };

/** It moves behind what ended before. */
function settle(run: StoredRun, stepId: string, change: Partial<MemoizedStep>): void {
  const step = run.steps.get(stepId)!;
  run.steps.delete(stepId);
  run.dueAtMs.delete(stepId);
  run.steps.set(stepId, { ...step, ...change });
}

export interface ActivateStored extends Omit<ActivationOptions, 'recorder'> {
  run: StoredRun;
  mode: 'push' | 'pull';
  /**
   * The process dies once so many of this activation's records were kept, and without its end; default never. Push keeps
   * records with the answer alone: a call that makes so many is lost with all of them.
   */
  crashAfter?: number | undefined;
  onActivation?: (activation: Activation) => void;
}

export async function activateStored(options: ActivateStored): Promise<Outcome | 'crashed'> {
  const { run, mode, crashAfter = Number.POSITIVE_INFINITY, ...rest } = options;
  let left = crashAfter;
  const keepSome = (records: StepRecord[]): void => {
    keep(run, records.slice(0, left), options.now());
    left -= Math.min(left, records.length);
  };
  const never = new Promise<void>(() => {});
  let queue = Promise.resolve();
  const recorder = {
    record(records: StepRecord[]) {
      queue = queue.then(async () => {
        // Never in the turn of the handler that made them.
        await new Promise<void>((resolve) => setImmediate(resolve));
        if (left > 0) keepSome(records);
        if (left > 0) return;
        activation.abort(new Error('the process died'));
        return never;
      });
      return queue;
    },
  };
  const activation = startActivation({ ...rest, ...(mode === 'pull' ? { recorder } : {}) });
  options.onActivation?.(activation);
  const result = await activation.result;
  if (result.kind === 'aborted') return 'crashed';
  if (mode === 'push' && result.records.length >= left) return 'crashed';
  keepSome(result.records);
  if (left <= 0) return 'crashed';
  if ('mismatch' in result.outcome) run.mismatch = result.outcome.mismatch ?? run.mismatch;
  return result.outcome;
}

function keep(run: StoredRun, records: StepRecord[], nowMs: number): void {
  for (const record of records) {
    stepRecordSchema.parse(record);
    run.records.push(record);
    if (isProgress(record)) run.attempt = 1;
    const { id, type, attempt, status } = record;
    const order = 'order' in record && record.order !== undefined ? { order: record.order } : {};
    const output = 'output' in record && record.output !== undefined ? { output: record.output } : {};
    const error = 'error' in record ? { error: record.error } : {};
    run.steps.set(id, { id, type, attempt, status, ...order, ...output, ...error });
    if (record.status === 'retrying') run.dueAtMs.set(id, nowMs + record.retryInMs);
    if (record.status === 'waiting' && record.due !== undefined) {
      run.dueAtMs.set(id, 'inMs' in record.due ? nowMs + record.due.inMs : record.due.atMs);
    }
  }
}

/** Far beyond what a run of 1,000 steps needs: one that makes no progress is a mistake. */
const activationsMax = 100_000;

export type EndOutcome = Extract<Outcome, { kind: 'completed' | 'threw' }> | { kind: 'cancelled' };

/** Activates until the run ends, as scheduler and executor would. */
export async function driveToEnd(
  run: StoredRun,
  by: {
    activate(): Promise<Outcome | 'crashed'>;
    /** Lets the delay of the run's own retry pass. */
    pause(delayMs: number): void;
    /** Ends a wait of the run; false if it has none that time would end. */
    wake(): boolean | Promise<boolean>;
    isCancelled?(): boolean;
  },
): Promise<EndOutcome> {
  for (let activations = 0; activations < activationsMax; activations += 1) {
    if (run.stopping === undefined && by.isCancelled?.() === true) {
      if (!stop(run, { kind: 'cancelled' })) return { kind: 'cancelled' };
    }
    const outcome = await by.activate();
    if (outcome === 'crashed' || outcome.kind === 'continue') continue;
    if (outcome.kind === 'completed') return outcome;
    if (outcome.kind === 'stopped') return endOf(run.stopping!);
    if (outcome.kind === 'threw') {
      if (outcome.retryInMs === undefined) {
        if (stop(run, { kind: 'failed', error: outcome.error })) continue;
        return outcome;
      }
      run.attempt += 1;
      by.pause(outcome.retryInMs);
    } else if (!(await by.wake())) {
      const ids = [...run.steps.values()].filter(({ status }) => status === 'waiting').map(({ id }) => id);
      throw new Error(`the run waits for what time will not bring: ${ids.join(', ')}`);
    }
  }
  throw new Error(`the run has not ended after ${activationsMax} activations`);
}

/** False if there is nothing to undo. */
function stop(run: StoredRun, outcome: StopOutcome): boolean {
  if (![...run.steps.values()].some(({ type }) => type === 'compensate')) return false;
  run.stopping = outcome;
  run.attempt = 1;
  run.dueAtMs.clear();
  return true;
}

function endOf(outcome: StopOutcome): EndOutcome {
  return outcome.kind === 'cancelled' ? outcome : { kind: 'threw', error: outcome.error };
}

/** What no compensation has undone, and why. */
export function notCompensatedOf(run: StoredRun): { step: string; error: Failure }[] {
  const compensations = [...run.steps.values()].filter(({ type }) => type === 'compensate');
  return compensations
    .filter(({ status }) => status !== 'completed')
    .map(({ id, error }) => ({ step: id, error: error ?? notMet }));
}

const notMet: Failure = { name: 'not_run', message: 'the function did not register it again' };

/** What an activation of a run that is stopping is told. */
export function purposeOf(run: StoredRun): Pick<Invocation, 'v' | 'stopping'> {
  if (run.stopping === undefined) return { v: protocolVersion };
  return { v: stoppingVersion, stopping: { as: run.stopping.kind } };
}

/** Step records of a batch as columns of one statement. Pure. */
import { deriveRunId } from '@ironflow/schema';
import type { Awaited, JournaledStep, StepStatus } from '@ironflow/schema';

export interface RecordedSteps {
  runId: string;
  environmentId: string;
  steps: readonly JournaledStep[];
  /** The run ends with this batch: nothing of it needs a timer. */
  ended: boolean;
  /** It begins to stop with it: nothing but what it undoes does. */
  stops: boolean;
}

/**
 * Run id, step id, attempt, name, type, status, output, error, started at, ended at, settle order, due in,
 * due at (times in milliseconds), the run it waits for. A failed attempt that a later one of the same batch follows is past its retry, and has no
 * timer.
 */
export function stepColumns(runs: readonly RecordedSteps[]): unknown[][] {
  const columns: unknown[][] = Array.from({ length: 14 }, () => []);
  for (const { runId, environmentId, steps, ended, stops } of runs) {
    const lastAttempts = new Map<string, number>();
    for (const { id, attempt } of steps) {
      lastAttempts.set(id, Math.max(attempt, lastAttempts.get(id) ?? 0));
    }
    for (const step of steps) {
      const isSuperseded = lastAttempts.get(step.id) !== step.attempt;
      const isLeft = ended || (stops && step.type !== 'compensate');
      const due = isLeft || isSuperseded ? noDue : dueOf(step);
      const awaitedRunId = awaitedRunOf(environmentId, awaitedOf(step));
      const row = [runId, ...rowOf(step, isSuperseded), due.inMs, due.atMs, awaitedRunId];
      for (const [index, value] of row.entries()) columns[index]!.push(value);
    }
  }
  return columns;
}

interface Due {
  inMs: number | null;
  atMs: number | null;
}

const noDue: Due = { inMs: null, atMs: null };

function dueOf(step: JournaledStep): Due {
  if (step.status === 'retrying') return { inMs: step.retryInMs, atMs: null };
  if (step.status !== 'waiting' || step.due === undefined) return noDue;
  return 'inMs' in step.due ? { inMs: step.due.inMs, atMs: null } : { inMs: null, atMs: step.due.atMs };
}

function rowOf(step: JournaledStep, isSuperseded: boolean): unknown[] {
  const status: StepStatus = step.status === 'retrying' && isSuperseded ? 'errored' : step.status;
  return [
    step.id,
    step.attempt,
    step.name,
    step.type,
    status,
    step.status === 'completed' ? (step.output ?? null) : null,
    step.status === 'failed' || step.status === 'retrying' ? JSON.stringify(step.error) : null,
    step.startedAtMs,
    step.status === 'waiting' ? null : step.endedAtMs,
    step.status === 'completed' || step.status === 'failed' ? (step.order ?? null) : null,
  ];
}

/**
 * Run id, step id, attempt, kind, name, condition, path and value and type to match, awaited run, place among the waits of
 * the batch. What a run that has ended, or stops, was waiting for is of no interest.
 */
export function waitColumns(runs: readonly RecordedSteps[]): unknown[][] {
  const columns: unknown[][] = Array.from({ length: 11 }, () => []);
  for (const { runId, environmentId, steps, ended, stops } of runs) {
    for (const step of ended || stops ? [] : steps) {
      const awaited = awaitedOf(step);
      if (awaited === undefined) continue;
      const row = [
        runId,
        step.id,
        step.attempt,
        awaited.kind,
        ...conditionsOf(awaited),
        awaitedRunOf(environmentId, awaited),
        columns[0]!.length,
      ];
      for (const [index, value] of row.entries()) columns[index]!.push(value);
    }
  }
  return columns;
}

function awaitedOf(step: JournaledStep): Awaited | undefined {
  return step.status === 'waiting' && step.type !== 'sleep' ? step.awaited : undefined;
}

function awaitedRunOf(environmentId: string, awaited: Awaited | undefined): string | null {
  if (awaited?.kind !== 'run') return null;
  const { eventId, functionId } = awaited;
  return deriveRunId({ environmentId, eventId, functionId });
}

/** Name, condition, path, value, type. */
function conditionsOf(awaited: Awaited): (string | null)[] {
  if (awaited.kind === 'signal') return [awaited.signal, null, null, null, null];
  if (awaited.kind === 'run') return [null, null, null, null, null];
  const { event, condition = null, match } = awaited;
  if (match === undefined) return [event, condition, null, null, null];
  return [event, condition, match.path, String(match.value), typeof match.value];
}

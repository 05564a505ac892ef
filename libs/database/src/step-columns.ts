/** Step records of a batch as columns of one statement. Pure. */
import type { StepRecord, StepStatus } from '@ironflow/schema';

export interface RecordedSteps {
  runId: string;
  steps: readonly StepRecord[];
  /** The run ends with this batch: nothing of it needs a timer. */
  ended: boolean;
}

/**
 * Run id, step id, attempt, name, type, status, output, error, started at, ended at, settle order, due in,
 * due at (times in milliseconds). A failed attempt that a later one of the same batch follows is past its retry, and has no
 * timer.
 */
export function stepColumns(runs: readonly RecordedSteps[]): unknown[][] {
  const columns: unknown[][] = Array.from({ length: 13 }, () => []);
  for (const { runId, steps, ended } of runs) {
    const lastAttempts = new Map<string, number>();
    for (const { id, attempt } of steps) {
      lastAttempts.set(id, Math.max(attempt, lastAttempts.get(id) ?? 0));
    }
    for (const step of steps) {
      const isSuperseded = lastAttempts.get(step.id) !== step.attempt;
      const due = ended || isSuperseded ? noDue : dueOf(step);
      const row = [runId, ...rowOf(step, isSuperseded), due.inMs, due.atMs];
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

function dueOf(step: StepRecord): Due {
  if (step.status === 'retrying') return { inMs: step.retryInMs, atMs: null };
  if (step.status !== 'waiting') return noDue;
  return 'inMs' in step.due ? { inMs: step.due.inMs, atMs: null } : { inMs: null, atMs: step.due.atMs };
}

function rowOf(step: StepRecord, isSuperseded: boolean): unknown[] {
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

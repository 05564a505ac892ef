/**
 * `step.compensate`: what is registered to be undone, and what of it is next. A registration is a record of its own, of the
 * form `compensate(<name>)`; the attempts to undo it are further records of the same step. Like a marker of `patched` it
 * has no place among the steps that settle.
 */
import type { MemoizedStep, StepRecord } from '@ironflow/schema';
import type { RunStep } from './attempt.js';

/** No step of the function's own may have a name of this form. */
export function compensationName(name: string): string {
  return `compensate(${name})`;
}

export function isCompensationName(name: string): boolean {
  return name.startsWith('compensate(') && name.endsWith(')');
}

export type Undo =
  | { kind: 'attempt'; id: string; step: RunStep; number: number }
  /** For the time of a retry. */
  | { kind: 'wait' }
  /** There is none left that could be tried. */
  | { kind: 'done' };

type Progress = Pick<MemoizedStep, 'attempt' | 'status'>;

export class Compensations {
  /** In the order of the calls. */
  private readonly registered: { id: string; step: RunStep }[] = [];
  /** Of those that are recorded. */
  private readonly progress: Map<string, Progress>;
  /** Recorded, not undone, and not met by this replay yet. */
  private readonly unmet: Set<string>;

  constructor(recorded: ReadonlyMap<string, MemoizedStep>) {
    this.progress = new Map(recorded);
    this.unmet = new Set([...recorded].filter(([, step]) => !isOver(step)).map(([id]) => id));
  }

  /** Whether this replay has met every one that is still to be undone. */
  get allMet(): boolean {
    return this.unmet.size === 0;
  }

  /** Answers the record of one that is not recorded yet. */
  register(id: string, step: RunStep, atMs: number): StepRecord | undefined {
    this.registered.push({ id, step });
    this.unmet.delete(id);
    if (this.progress.has(id)) return undefined;
    this.progress.set(id, { attempt: 0, status: 'registered' });
    return {
      id,
      name: step.name,
      type: 'compensate',
      attempt: 0,
      startedAtMs: atMs,
      endedAtMs: atMs,
      status: 'registered',
    };
  }

  /** The last one registered that is not over; one that has failed for good does not stand in the way. */
  next(): Undo {
    for (const { id, step } of this.registered.toReversed()) {
      const progress = this.progress.get(id)!;
      if (isOver(progress)) continue;
      if (progress.status === 'retrying') return { kind: 'wait' };
      return { kind: 'attempt', id, step, number: progress.attempt + 1 };
    }
    return { kind: 'done' };
  }

  /** An attempt has ended. */
  note({ id, attempt, status }: StepRecord): void {
    this.progress.set(id, { attempt, status });
  }
}

function isOver({ status }: Progress): boolean {
  return status === 'completed' || status === 'failed';
}

/** What is recorded of a run and its code does not fit, as one activation finds it (A7 of activation.ts). */
import { mergeMismatch } from '@ironflow/schema';
import type { MemoizedStep, Mismatch, MismatchedStep, StepType } from '@ironflow/schema';
import type { Occurrences } from './occurrences.js';

type RecordedStep = Pick<MemoizedStep, 'id' | 'type' | 'status'>;

/** A run whose code fits costs a count down. */
export class Mismatches {
  private uncalledCount: number;
  /** Called as another type, or gone past. */
  private readonly found: MismatchedStep[] = [];

  constructor(
    private readonly recorded: ReadonlyMap<string, RecordedStep>,
    private readonly called: Pick<Occurrences, 'has'>,
    /** What was said of the run before. */
    private readonly known: Mismatch | undefined,
  ) {
    this.uncalledCount = recorded.size;
  }

  call(step: RecordedStep, type: StepType): void {
    this.uncalledCount -= 1;
    if (step.type !== type) this.found.push({ ...mismatched(step, 'type_changed'), calledAs: type });
  }

  /** Others settle without them, though it was their turn. */
  pass(steps: readonly { id: string }[]): void {
    for (const { id } of steps) {
      const step = this.recorded.get(id);
      if (step !== undefined) this.found.push(mismatched(step, 'out_of_turn'));
    }
  }

  /** Whether one is left that may still be called, as far as anybody knows. */
  isAnyAwaited(): boolean {
    return this.uncalled().some(({ id }) => !isListed(this.known?.steps, id) && !isListed(this.found, id));
  }

  /** All that is known now, if there is something new; `uncalled`: what is to be said of steps that were not called. */
  report(uncalled: MismatchedStep['kind'] | undefined): Mismatch | undefined {
    const missing = uncalled === undefined ? [] : this.uncalled().map((step) => mismatched(step, uncalled));
    const others = this.found.filter(({ id }) => !isListed(missing, id));
    return missing.length + others.length === 0
      ? undefined
      : mergeMismatch(this.known, [...others, ...missing]);
  }

  private uncalled(): RecordedStep[] {
    if (this.uncalledCount === 0) return [];
    return [...this.recorded.values()].filter(({ id }) => !this.called.has(id));
  }
}

function mismatched({ id, type, status }: RecordedStep, kind: MismatchedStep['kind']): MismatchedStep {
  return { id, kind, type, status };
}

function isListed(steps: readonly MismatchedStep[] | undefined, stepId: string): boolean {
  return steps?.some(({ id }) => id === stepId) ?? false;
}

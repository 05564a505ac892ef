/** What is recorded of a run, as a replay needs it. */
import type { MemoizedStep } from '@ironflow/schema';
import { answerOf, isMarkerName } from './patches.js';

export interface Memo {
  /** Steps of the function's own. */
  readonly byId: ReadonlyMap<string, MemoizedStep>;
  /** Steps that completed or failed, in the order in which the function saw them settle. */
  readonly settled: readonly MemoizedStep[];
  /** What was registered by `step.compensate`, by id. */
  readonly compensations: ReadonlyMap<string, MemoizedStep>;
  /** What `step.patched` answered, by the id of its marker. */
  readonly patches: ReadonlyMap<string, boolean>;
  /** The place of the next step to settle. */
  readonly nextOrder: number;
}

/**
 * A step that ran was recorded with its place. A sleep that a timer ended has none: it became visible between two
 * activations, so it fills the next place that no step has, and sleeps among themselves keep the order of the memo.
 */
export function readMemo(steps: readonly MemoizedStep[]): Memo {
  const byId = new Map<string, MemoizedStep>();
  const patches = new Map<string, boolean>();
  const compensations = new Map<string, MemoizedStep>();
  for (const step of steps) {
    if (isMarkerName(step.id)) patches.set(step.id, answerOf(step));
    else if (step.type === 'compensate') compensations.set(step.id, step);
    else byId.set(step.id, step);
  }
  const ended = [...byId.values()].filter(({ status }) => status === 'completed' || status === 'failed');
  const placed = ended.filter(hasOrder).sort((a, b) => a.order - b.order);
  const unplaced = ended.filter((step) => !hasOrder(step));
  const settled: MemoizedStep[] = [];
  let next = 0;
  for (const step of placed) {
    while (settled.length < step.order && next < unplaced.length) settled.push(unplaced[next++]!);
    settled.push(step);
  }
  settled.push(...unplaced.slice(next));
  const nextOrder = Math.max(settled.length, (placed.at(-1)?.order ?? -1) + 1);
  return { byId, compensations, patches, settled, nextOrder };
}

function hasOrder(step: MemoizedStep): step is MemoizedStep & { order: number } {
  return step.order !== undefined;
}

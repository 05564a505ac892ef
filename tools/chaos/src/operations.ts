/**
 * What an operator does while the load lasts, from the seed: pure, as the faults are (plan.ts), and beside them. One operation is over
 * before the next begins.
 */
import { modes, namesOf } from './case.js';
import { createRandom } from './random.js';

export const operationNames = [
  'pause-function',
  'pause-environment',
  'break-endpoint',
  'force-open',
] as const;
export type OperationName = (typeof operationNames)[number];

export interface PlannedOperation {
  name: OperationName;
  /** From the beginning of the load. */
  atMs: number;
  forMs: number;
  /** What is paused. */
  functionId?: string;
}

const lasts: Record<OperationName, { msMin: number; msMax: number }> = {
  'pause-function': { msMin: 3_000, msMax: 8_000 },
  'pause-environment': { msMin: 2_000, msMax: 5_000 },
  // Several windows of its breaker.
  'break-endpoint': { msMin: 12_000, msMax: 18_000 },
  'force-open': { msMin: 5_000, msMax: 9_000 },
};
/** With flow control and without. */
const paused = ['map', 'flaky', 'concurrent', 'throttled', 'batched', 'in-turn'];

const quietAtFirstMs = 8_000;
const quietAtLastMs = 15_000;
const gapMsMin = 2_000;
const gapMsMax = 6_000;

export function planOperations({ seed, minutes }: { seed: number; minutes: number }): PlannedOperation[] {
  const random = createRandom(seed, 'operations');
  const untilMs = minutes * 60_000 - quietAtLastMs;
  const operations: PlannedOperation[] = [];
  let left: OperationName[] = [];
  let atMs = quietAtFirstMs;
  for (;;) {
    if (left.length === 0) left = random.shuffled(operationNames);
    const name = left.pop()!;
    const forMs = random.whole(lasts[name].msMin, lasts[name].msMax);
    const functionId = namesOf(random.pick(modes)).functionId(random.pick(paused));
    if (atMs + forMs > untilMs) return operations;
    operations.push({ name, atMs, forMs, ...(name === 'pause-function' ? { functionId } : {}) });
    atMs += forMs + random.whole(gapMsMin, gapMsMax);
  }
}

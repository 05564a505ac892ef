/**
 * `step.patched`: what is recorded of it. A marker is a completed step of the form `patched(<id>)`, whose output is the
 * answer. It has no place among the steps that settle and nothing waits for it, so a call that is deleted later leaves
 * nothing behind that a replay would miss.
 */
import type { MemoizedStep, StepRecord } from '@ironflow/schema';

/** No step of the function's own may have a name of this form. */
export function markerName(patchId: string): string {
  return `patched(${patchId})`;
}

export function isMarkerName(name: string): boolean {
  return name.startsWith('patched(') && name.endsWith(')');
}

export function markerRecord(patchId: string, answer: boolean, atMs: number): StepRecord {
  const name = markerName(patchId);
  return {
    id: name,
    name,
    type: 'run',
    attempt: 1,
    startedAtMs: atMs,
    endedAtMs: atMs,
    status: 'completed',
    output: String(answer),
  };
}

export function answerOf(marker: MemoizedStep): boolean {
  return marker.output === 'true';
}

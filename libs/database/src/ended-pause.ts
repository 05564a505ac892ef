/** A sleep or a wait that has ended, of a run that is traced: what a span of it needs to know. */
import type { StepType } from '@ironflow/schema';

export interface EndedPause {
  type: StepType;
  status: 'completed' | 'failed';
  runId: string;
  stepId: string;
  name: string;
  attempt: number;
  traceparent: string;
  startedAtMs: number;
  endedAtMs: number;
}

export type EndedPauseTuple = [
  type: StepType,
  status: EndedPause['status'],
  runId: string,
  stepId: string,
  name: string,
  attempt: number,
  traceparent: string,
  startedAtMs: number,
  endedAtMs: number,
];

/** Of a row `f` of steps that was flipped, with what its run says of the trace and when it ended. */
export function endedPauseTuple({ traceparent, endedAt }: { traceparent: string; endedAt: string }): string {
  return `json_build_array(f.type, f.status, f.run_id, f.step_id, f.name, f.attempt, ${traceparent},
    floor(extract(epoch from f.started_at) * 1000), floor(extract(epoch from ${endedAt}) * 1000))`;
}

export function toEndedPause(tuple: EndedPauseTuple): EndedPause {
  const [type, status, runId, stepId, name, attempt, traceparent, startedAtMs, endedAtMs] = tuple;
  return { type, status, runId, stepId, name, attempt, traceparent, startedAtMs, endedAtMs };
}

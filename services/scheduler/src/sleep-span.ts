/** The span of a sleep or a wait that a timer has ended: from when its function asked for it until it was due. Pure. */
import type { SchedulerStore } from '@ironflow/database';
import { parseTraceparent, runSpanId } from '@ironflow/schema';
import type { RecordedSpan } from '@ironflow/service';

export type EndedSleep = Awaited<ReturnType<SchedulerStore['fireTimers']>>['sleeps'][number];

export function sleepSpan(sleep: EndedSleep, spanId: string): RecordedSpan | undefined {
  const trace = parseTraceparent(sleep.traceparent);
  if (trace?.sampled !== true) return undefined;
  return {
    name: `workflow.${sleep.type === 'sleep' ? 'sleep' : 'wait'} ${sleep.name}`,
    traceId: trace.traceId,
    spanId,
    parentSpanId: runSpanId(sleep.runId),
    kind: 'internal',
    startTimeMs: sleep.startedAtMs,
    // The start is by another clock than the due time, which may lie before it for a sleep until a time that had passed.
    endTimeMs: Math.max(sleep.startedAtMs, sleep.dueAtMs),
    attributes: {
      'ironflow.step.id': sleep.stepId,
      'ironflow.step.attempt': sleep.attempt,
      'ironflow.step.status': sleep.type === 'invoke' ? 'failed' : 'completed',
    },
  };
}

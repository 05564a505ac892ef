/** The spans of sleeps and waits that have ended: from when the function asked until what it waited for was there, or due. */
import type { EndedPause } from '@ironflow/database';
import { parseTraceparent, runSpanId } from '@ironflow/schema';
import type { RecordedSpan, SpanRecorder } from '@ironflow/service';

export type PauseSpans = (ended: readonly EndedPause[]) => void;

export function createPauseSpans(spans: Pick<SpanRecorder, 'enabled' | 'record' | 'newSpanId'>): PauseSpans {
  return (ended) => {
    if (!spans.enabled) return;
    for (const pause of ended) {
      const span = pauseSpan(pause, spans.newSpanId());
      if (span !== undefined) spans.record(span);
    }
  };
}

function pauseSpan(pause: EndedPause, spanId: string): RecordedSpan | undefined {
  const trace = parseTraceparent(pause.traceparent);
  if (trace?.sampled !== true) return undefined;
  return {
    name: `workflow.${pause.type === 'sleep' ? 'sleep' : 'wait'} ${pause.name}`,
    traceId: trace.traceId,
    spanId,
    parentSpanId: runSpanId(pause.runId),
    kind: 'internal',
    startTimeMs: pause.startedAtMs,
    // The start is by another clock than the end, which may lie before it: a sleep until a time that had passed.
    endTimeMs: Math.max(pause.startedAtMs, pause.endedAtMs),
    attributes: {
      'ironflow.step.id': pause.stepId,
      'ironflow.step.attempt': pause.attempt,
      'ironflow.step.status': pause.status,
    },
    error: pause.status === 'failed' ? 'wait_failed' : undefined,
  };
}

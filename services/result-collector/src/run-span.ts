/** The span of a whole run, written once, by the collector that got its end accepted. Pure. */
import { parseTraceparent, runSpanId } from '@ironflow/schema';
import type { AcceptedRun } from '@ironflow/database';
import type { RecordedSpan } from '@ironflow/service';

/** `errorName`: the class of what it failed with; messages may hold payload. */
export function runSpan(run: AcceptedRun, errorName: string | undefined): RecordedSpan | undefined {
  const parent = parseTraceparent(run.traceparent);
  if (parent === undefined || !parent.sampled || run.endedAtMs === undefined) return undefined;
  return {
    name: 'workflow.run',
    traceId: parent.traceId,
    spanId: runSpanId(run.runId),
    parentSpanId: parent.spanId,
    kind: 'internal',
    startTimeMs: run.createdAtMs,
    endTimeMs: run.endedAtMs,
    attributes: {
      'ironflow.project': run.scope.project,
      'ironflow.env': run.scope.env,
      'ironflow.function.id': run.functionId,
      'ironflow.run.id': run.runId,
      'ironflow.outcome': run.status,
    },
    ...(errorName === undefined ? {} : { error: errorName }),
  };
}

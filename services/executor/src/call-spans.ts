/** The spans of an activation and of its steps, written from the times that were recorded. */
import { messagingAttributes, runSpanId } from '@ironflow/schema';
import type { StepRecord } from '@ironflow/schema';
import type { SpanRecorder } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';

export function recordStepSpans(spans: SpanRecorder, run: ActiveRun, records: StepRecord[]): void {
  if (run.trace === undefined) return;
  for (const record of records) {
    // A sleep has ended when its timer fired, which is not here.
    if (record.status === 'waiting' || record.status === 'registered') continue;
    spans.record({
      name: `workflow.step ${record.name}`,
      traceId: run.trace.traceId,
      spanId: spans.newSpanId(),
      parentSpanId: run.trace.spanId,
      kind: 'internal',
      startTimeMs: record.startedAtMs,
      endTimeMs: record.endedAtMs,
      attributes: {
        'ironflow.step.id': record.id,
        'ironflow.step.type': record.type,
        'ironflow.step.attempt': record.attempt,
        'ironflow.step.status': record.status,
      },
      ...(record.status === 'completed' ? {} : { error: record.error.name }),
    });
  }
}

export function recordActivationSpan(
  spans: SpanRecorder,
  run: ActiveRun,
  ended: { outcome: string; atMs: number; error?: string },
): void {
  if (run.trace === undefined) return;
  spans.record({
    name: 'workflow.activation',
    traceId: run.trace.traceId,
    spanId: run.trace.spanId,
    parentSpanId: runSpanId(run.runId),
    kind: 'consumer',
    startTimeMs: run.activatedAtMs,
    endTimeMs: ended.atMs,
    attributes: {
      ...messagingAttributes('process', 'steps'),
      'ironflow.project': run.scope.project,
      'ironflow.env': run.scope.env,
      'ironflow.function.id': run.functionId,
      'ironflow.run.id': run.runId,
      'ironflow.outcome': ended.outcome,
      'ironflow.delivery': run.writer.delivery,
      ...(run.queuedMs === undefined ? {} : { 'ironflow.queue_ms': run.queuedMs }),
      ...(run.buildId === undefined ? {} : { 'ironflow.build.id': run.buildId }),
    },
    ...(run.causedBy === undefined
      ? {}
      : { links: [{ traceId: run.causedBy.traceId, spanId: run.causedBy.spanId }] }),
    ...(ended.error === undefined ? {} : { error: ended.error }),
  });
}

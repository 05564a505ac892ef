/** What is published to activate a run. Pure. */
import type { NewRun, RunToActivate } from '@ironflow/database';
import type { Publication } from '@ironflow/jetstream';
import { headerNames, limits, subjects } from '@ironflow/schema';
import type { Activation, StoredEvent } from '@ironflow/schema';

/** A run and the message that activates it; the run itself is kept for what becomes of the message. */
export interface RunActivation {
  run: RunToActivate;
  publication: Publication;
}

/** What one event may put into the stream at once; beyond it the executors read it from Postgres. */
const fanOutBytesMax = 16 * 1024 * 1024;

/** Without the event: the executor reads it together with the run. No message id, one per subject is the dedup. */
export function activationOf(run: RunToActivate): RunActivation {
  const body: Activation = { runId: run.runId, scope: run.scope };
  return { run, publication: { subject: subjects.activation(run.scope, run), data: JSON.stringify(body) } };
}

/** The same without its event: thousands may wait to be published again, and memory is bounded. */
export function withoutEvent({ run, publication }: RunActivation): RunActivation {
  return { run, publication: { ...publication, data: activationOf(run).publication.data } };
}

/** The runs of an event that was just routed, with the event in each if it is small enough to travel so often. */
export function activationsOfEvent(event: StoredEvent, runs: readonly NewRun[]): RunActivation[] {
  if (runs.length === 0) return [];
  const tail = bodyAfterRunId(event, runs.length);
  return runs.map((run) => ({
    run: {
      runId: run.id,
      scope: event.scope,
      mode: run.mode,
      appId: run.appId,
      functionId: run.functionId,
      eventId: event.id,
    },
    publication: {
      subject: subjects.activation(event.scope, { ...run, runId: run.id }),
      data: `{"runId":"${run.id}",${tail}`,
      headers: {
        [headerNames.correlationId]: run.correlationId,
        [headerNames.causationId]: event.id,
        ...(run.traceparent === undefined ? {} : { [headerNames.traceparent]: run.traceparent }),
      },
    },
  }));
}

/** Written once an event: many functions may share one, and its data is by far the longest part. */
function bodyAfterRunId({ scope, awaited: _awaited, ...event }: StoredEvent, copies: number): string {
  const rest: Omit<Activation, 'runId'> = travels(event.data, copies) ? { scope, event } : { scope };
  return JSON.stringify(rest).slice(1);
}

function travels(data: string, copies: number): boolean {
  // Text is never shorter in UTF-8 than in characters, and at most three times as long: mostly nothing is counted.
  if (data.length > limits.activationEventBytesMax || data.length * copies > fanOutBytesMax) return false;
  return (
    data.length * 3 <= limits.activationEventBytesMax ||
    Buffer.byteLength(data) <= limits.activationEventBytesMax
  );
}

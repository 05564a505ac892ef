/** What is published to activate a run. Pure. */
import type { NewRun, RunToActivate } from '@ironflow/database';
import type { Publication } from '@ironflow/jetstream';
import { headerNames, subjects } from '@ironflow/schema';
import type { Activation, StoredEvent } from '@ironflow/schema';

/** A run and the message that activates it; the run itself is kept for what becomes of the message. */
export interface RunActivation {
  run: RunToActivate;
  publication: Publication;
}

/** No message id: one per subject is the dedup. */
export function activationOf(run: RunToActivate): RunActivation {
  const body: Activation = { runId: run.runId, scope: run.scope };
  return { run, publication: { subject: subjects.activation(run.scope, run), data: JSON.stringify(body) } };
}

/** The runs of an event that was just routed, each with what its headers tell of that event. */
export function activationsOfEvent(event: StoredEvent, runs: readonly NewRun[]): RunActivation[] {
  return runs.map(({ id: runId, mode, appId, functionId, bulk, correlationId, traceparent }) => {
    const { run, publication } = activationOf({
      ...{ runId, mode, appId, functionId },
      ...(bulk === true ? { bulk } : {}),
      ...{ scope: event.scope, eventId: event.id },
    });
    const headers = {
      [headerNames.correlationId]: correlationId,
      [headerNames.causationId]: event.id,
      ...(traceparent === undefined ? {} : { [headerNames.traceparent]: traceparent }),
    };
    return { run, publication: { ...publication, headers } };
  });
}

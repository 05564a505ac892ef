/**
 * Repeating a run that has ended: a new event that is like the run's own, belongs to the same root and is for the run's
 * function alone. It is stored and published as any other.
 */
import type { IngestStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { deriveRunId, isTerminal } from '@ironflow/schema';
import type { RerunAnswer, RerunBody, Scope } from '@ironflow/schema';
import { dataText, requireStorableText } from './emitted-event.js';
import type { PreparedEvent } from './emitted-event.js';
import type { Addressed, Emit } from './emission.js';
import type { FunctionDirectory } from './function-directory.js';

export interface RerunRequest extends RerunBody {
  scope: Scope;
  runId: string;
  /** Of the caller. */
  traceparent?: string | undefined;
  /** Of the event; asked for once nothing speaks against it any more. Fresh by default. */
  chooseId?: () => Promise<string>;
}

export interface RerunsOptions {
  store: Pick<IngestStore, 'runToRepeat'>;
  functions: FunctionDirectory;
  emit: Emit;
}

export type Rerun = (request: RerunRequest) => Promise<RerunAnswer>;

/** Says `run_not_found` alike for a run that is absent and one that is another's. */
export function createRerun(options: RerunsOptions): Rerun {
  return async (request) => {
    const { scope, traceparent } = request;
    const { environmentId } = scope;
    const event = await eventOf(options, request);
    const id = await request.chooseId?.();
    const events = [id === undefined ? event : { ...event, id }];
    const { ids } = await options.emit({ scope, source: 'rerun', events, traceparent });
    const eventId = ids[0]!;
    return { eventId, runId: deriveRunId({ environmentId, eventId, functionId: event.functionId }) };
  };
}

type RerunEvent = PreparedEvent & Addressed & { functionId: string };

async function eventOf({ store, functions }: RerunsOptions, request: RerunRequest): Promise<RerunEvent> {
  const { runId, data, fromStep, idempotencyKey } = request;
  const { environmentId } = request.scope;
  requireStorableText(idempotencyKey, 'idempotencyKey');
  const run = await store.runToRepeat({ environmentId, runId, stepId: fromStep });
  if (run === undefined) {
    throw new IronflowError('not_found', 'run_not_found', 'there is no run of that id in this environment');
  }
  if (!isTerminal(run.status)) {
    const message = `only a run that has ended is repeated: this one is ${run.status}`;
    throw new IronflowError('conflict', 'run_not_ended', message);
  }
  if (fromStep !== undefined && !run.hasStep) {
    const message = 'the run has recorded no step of that id';
    throw new IronflowError('not_found', 'step_not_found', message, { field: 'fromStep' });
  }
  if (!(await functions.has(environmentId, run.functionId))) {
    const message = 'the function of this run is not registered any more';
    throw new IronflowError('not_found', 'function_not_found', message);
  }
  const { id: causationId, name, version, correlationId } = run.event;
  return {
    name,
    data: data === undefined ? run.event.data : dataText(data, 'data'),
    ...(version === undefined ? {} : { version }),
    correlationId,
    causationId,
    functionId: run.functionId,
    rerunOf: run.id,
    ...(fromStep === undefined ? {} : { rerunFromStep: fromStep }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  };
}

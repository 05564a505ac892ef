/**
 * Events that a step sends. Each has a key of its own, made of the run, the step and its place among them: a step whose
 * process died before it was recorded sends them again, and the platform keeps the first.
 */
import { createHash } from 'node:crypto';
import type { EmittedEvent, Invocation } from '@ironflow/schema';
import { IronflowApiError, isRefusal } from '../client/api-error.js';
import type { Client } from '../client/client.js';
import { NonRetryableError } from '../function-errors.js';
import type { SentEvents } from '../step-tools.js';

export type Emit = Client['emit'];

/** Of one run; `stepId` is that of the step that sends. */
export type SendEvents = (
  events: readonly EmittedEvent[],
  stepId: string,
  signal: AbortSignal,
) => Promise<SentEvents>;

export function createSendEvents(emit: Emit, { run, event: cause, traceparent }: Invocation): SendEvents {
  return async (events, stepId, signal) => {
    // A name may be longer than a key, and hold what a key may not.
    const step = createHash('sha256').update(stepId).digest('base64url');
    const keyed = events.map((event, index) => ({
      ...event,
      correlationId: event.correlationId ?? cause.correlationId,
      causationId: event.causationId ?? cause.id,
      idempotencyKey: event.idempotencyKey ?? `${run.id}.${step}.${index}`,
    }));
    try {
      const { ids } = await emit(keyed, { signal, ...(traceparent === undefined ? {} : { traceparent }) });
      return { ids };
    } catch (thrown) {
      if (thrown instanceof IronflowApiError && isRefusal(thrown.status)) {
        throw new NonRetryableError(thrown.message, { cause: thrown });
      }
      throw thrown;
    }
  };
}

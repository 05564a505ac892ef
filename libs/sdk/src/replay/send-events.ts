/**
 * Events that a step sends. Each has a key of its own, made of the run, the step and its place among them: a step whose
 * process died before it was recorded sends them again, and the platform keeps the first.
 */
import type { Invocation } from '@ironflow/schema';
import { emittedEvent } from '../event-to-emit.js';
import type { EventToEmit } from '../event-to-emit.js';
import { keyOf, unlessRefused } from './platform-calls.js';
import type { PlatformCalls } from './platform-calls.js';
import type { SentEvents } from '../step-tools.js';

/** Of one run; `stepId` is that of the step that sends. */
export type SendEvents = (
  events: readonly EventToEmit[],
  stepId: string,
  signal: AbortSignal,
) => Promise<SentEvents>;

export function createSendEvents(
  platform: PlatformCalls,
  { run, event: cause, traceparent }: Invocation,
): SendEvents {
  return async (events, stepId, signal) => {
    const key = keyOf(run.id, stepId);
    const keyed = events.map((event, index) => ({
      ...emittedEvent(event),
      correlationId: event.correlationId ?? cause.correlationId,
      causationId: event.causationId ?? cause.id,
      idempotencyKey: event.idempotencyKey ?? `${key}.${index}`,
    }));
    const trace = traceparent === undefined ? {} : { traceparent };
    const { ids } = await unlessRefused(() => platform.emit(keyed, { signal, ...trace }));
    return { ids };
  };
}

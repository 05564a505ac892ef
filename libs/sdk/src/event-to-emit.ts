/** An event as it is given to be emitted. */
import type { EmittedEvent } from '@ironflow/schema';

export interface EventToEmit extends Omit<EmittedEvent, 'at'> {
  /** When it is delivered, at most a year ahead: a date, or its text in ISO 8601. At once when that has passed. */
  at?: Date | string | undefined;
}

export function emittedEvent({ at, ...event }: EventToEmit): EmittedEvent {
  if (at === undefined) return event;
  // What is no date is refused by the platform, which names the field.
  if (!(at instanceof Date)) return { ...event, at };
  return { ...event, at: Number.isNaN(at.getTime()) ? String(at) : at.toISOString() };
}

/**
 * A client's event, made ready to be stored. Pure. A batch of events shares one statement with other requests, so whatever
 * Postgres or NATS would refuse is refused here, by name, and alone.
 */
import { IronflowError } from '@ironflow/errors';
import {
  brokenDataRule,
  brokenFieldRule,
  brokenTextRule,
  brokenTimeRule,
  dataTooDeep,
} from '@ironflow/schema';
import type { BrokenRule, EmittedEvent } from '@ironflow/schema';

/** An event with its data as JSON text, ready to be given an id. */
export interface PreparedEvent {
  name: string;
  data: string;
  version?: string;
  correlationId?: string;
  causationId?: string;
  idempotencyKey?: string;
  /** When it is to be delivered, if that is later. */
  atMs?: number;
}

/** Throws the first broken rule; `field` of the error says where. Who waits for runs cannot wait for an event that comes later. */
export function prepareEvents(
  body: EmittedEvent | EmittedEvent[],
  circumstances: { nowMs: number; isWaiting: boolean },
): PreparedEvent[] {
  const prepare = (event: EmittedEvent, place: string): PreparedEvent => ({
    ...prepareEvent(event, place),
    ...delivery(event.at, `${place}at`, circumstances),
  });
  if (!Array.isArray(body)) return [prepare(body, '')];
  return body.map((event, index) => prepare(event, `[${index}].`));
}

function delivery(
  at: string | undefined,
  field: string,
  { nowMs, isWaiting }: { nowMs: number; isWaiting: boolean },
): { atMs?: number } {
  if (at === undefined) return {};
  const atMs = Date.parse(at);
  refuseIf(brokenTimeRule(atMs, nowMs), field);
  // Whether it has passed is for Postgres' clock to say; one long gone needs nobody to ask.
  if (atMs < nowMs - clockSkewMsMax) return {};
  if (isWaiting && atMs > nowMs) {
    const rule = 'cannot be waited for: leave out `wait`, or `at`';
    throw new IronflowError('invalid', 'invalid_request', rule, { field });
  }
  return isWaiting ? {} : { atMs };
}

/** This machine's clock and Postgres' differ by less. */
const clockSkewMsMax = 60_000;

/** What starts one function; its name is the platform's own. */
export function prepareInvocation(
  name: string,
  given: Omit<EmittedEvent, 'name' | 'version'>,
): PreparedEvent {
  return prepareEvent({ ...given, name }, '');
}

function prepareEvent(event: EmittedEvent, place: string): PreparedEvent {
  return prepareText(event, dataText(event.data, `${place}data`), place);
}

/** An event whose data is JSON text already. */
export function prepareText(event: Omit<EmittedEvent, 'data'>, data: string, place = ''): PreparedEvent {
  const { name, version, correlationId, causationId, idempotencyKey } = event;
  const broken = brokenFieldRule(event);
  if (broken !== undefined) throw refusalOf(broken, `${place}${broken.field}`);
  return {
    name,
    data,
    ...(version === undefined ? {} : { version }),
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(causationId === undefined ? {} : { causationId }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  };
}

/** The JSON text of an event's data; absent data is `null`. */
export function dataText(data: unknown, field: string): string {
  const text = data === undefined ? 'null' : toJson(data, field);
  requireDataText(text, field);
  return text;
}

/** Data that is JSON text already, by whichever door it came in. */
export function requireDataText(text: string, field: string): void {
  refuseIf(brokenDataRule(text), field);
}

export function requireStorableText(text: string | undefined, field: string): void {
  refuseIf(brokenTextRule(text), field);
}

function toJson(data: unknown, field: string): string {
  try {
    return JSON.stringify(data);
  } catch {
    // The parser takes any depth, the serializer is recursive.
    throw refusalOf(dataTooDeep, field);
  }
}

function refuseIf(broken: BrokenRule | undefined, field: string): void {
  if (broken !== undefined) throw refusalOf(broken, field);
}

function refusalOf({ code, rule }: BrokenRule, field: string): IronflowError {
  const category = code === 'event_data_too_large' ? 'too_large' : 'invalid';
  return new IronflowError(category, code, rule, { field });
}

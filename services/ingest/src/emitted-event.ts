/**
 * What a client's event has to satisfy beyond its schema before it is stored. Pure. A batch of events shares one
 * statement with other requests, so whatever Postgres or NATS would refuse is refused here, by name, and alone.
 */
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type { EmittedEvent } from '@ironflow/schema';

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

/** Far above any real document and far below where parsers, ours and Postgres', run out of stack. */
export const dataDepthMax = 256;

/**
 * NATS takes 1 MiB in one message, and data travels as a string within JSON. Only data that consists of little but
 * escapes can be within the limit for data and above this one; the rest of the message has 8 KiB.
 */
const messageDataBytesMax = 1024 * 1024 - 8 * 1024;

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
  if (atMs > nowMs + limits.eventAheadMsMax) {
    throw new IronflowError('invalid', 'invalid_request', 'must be at most a year ahead', { field });
  }
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
  requireHeaderText(correlationId, `${place}correlationId`);
  requireHeaderText(causationId, `${place}causationId`);
  requireStorableText(version, `${place}version`);
  requireStorableText(idempotencyKey, `${place}idempotencyKey`);
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
  // Most texts are too short to be too large in UTF-8 as well; only the others are counted.
  if (text.length * 3 > limits.eventDataBytesMax && Buffer.byteLength(text) > limits.eventDataBytesMax) {
    const rule = `must be at most ${limits.eventDataBytesMax} bytes (512 KiB) of JSON`;
    throw new IronflowError('too_large', 'event_data_too_large', rule, { field });
  }
  if (
    text.length * 2 > messageDataBytesMax &&
    Buffer.byteLength(JSON.stringify(text)) > messageDataBytesMax
  ) {
    const rule = `must fit one message: at most ${messageDataBytesMax} bytes with its quotes and backslashes escaped`;
    throw new IronflowError('too_large', 'event_data_too_large', rule, { field });
  }
  if (isDeeperThan(text, dataDepthMax)) throw tooDeep(field);
}

export function requireStorableText(text: string | undefined, field: string): void {
  // Postgres' text has no NUL: one would fail the statement, and everybody else's events in it.
  if (text?.includes('\u0000') === true) {
    throw new IronflowError('invalid', 'invalid_request', 'must not contain the character U+0000', { field });
  }
  // Half a pair has no UTF-8: it would be stored as U+FFFD, and two different keys as the same one.
  if (text !== undefined && /\p{Surrogate}/u.test(text)) {
    const rule = 'must be well-formed Unicode: surrogates come in pairs';
    throw new IronflowError('invalid', 'invalid_request', rule, { field });
  }
}

/** It travels in a message header. */
export function requireHeaderText(text: string | undefined, field: string): void {
  if (text !== undefined && !isHeaderText(text)) {
    const rule = 'must consist of printable ASCII characters, without a space at either end';
    throw new IronflowError('invalid', 'invalid_request', rule, { field });
  }
}

export function isHeaderText(text: string): boolean {
  return /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text);
}

/** Whether a JSON text nests arrays and objects deeper than that. Brackets within strings do not count. */
export function isDeeperThan(text: string, depthMax: number): boolean {
  if (text.length <= depthMax * 2) return false;
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === quote) inString = !inString;
    else if (inString) index += code === backslash ? 1 : 0;
    else if (code === openBracket || code === openBrace) {
      depth += 1;
      if (depth > depthMax) return true;
    } else if (code === closeBracket || code === closeBrace) depth -= 1;
  }
  return false;
}

const [quote, backslash, openBracket, closeBracket, openBrace, closeBrace] = [...'"\\[]{}'].map((character) =>
  character.charCodeAt(0),
) as [number, number, number, number, number, number];

function toJson(data: unknown, field: string): string {
  try {
    return JSON.stringify(data);
  } catch {
    // The parser takes any depth, the serializer is recursive.
    throw tooDeep(field);
  }
}

function tooDeep(field: string): IronflowError {
  const rule = `must not nest arrays and objects deeper than ${dataDepthMax} levels`;
  return new IronflowError('invalid', 'event_data_too_deep', rule, { field });
}

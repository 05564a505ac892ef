/**
 * What an event has to satisfy beyond its schema so that Postgres stores it and NATS carries it. Asked by whoever accepts events, and by whoever
 * writes them down to be emitted later and could not be told then. Pure.
 */
import type { EmittedEvent } from './event.js';
import { limits } from './limits.js';

export interface BrokenRule {
  code: 'invalid_request' | 'event_data_too_large' | 'event_data_too_deep';
  /** What it must or must not be. */
  rule: string;
}

/** Far above any real document and far below where parsers, ours and Postgres', run out of stack. */
export const dataDepthMax = 256;

/**
 * NATS takes 1 MiB in one message, and data travels as a string within JSON. Only data that consists of little but
 * escapes can be within the limit for data and above this one; the rest of the message has 8 KiB.
 */
const messageDataBytesMax = 1024 * 1024 - 8 * 1024;

/** Of the fields that are short texts, and which of them it is. */
export function brokenFieldRule(
  event: Pick<EmittedEvent, 'version' | 'correlationId' | 'causationId' | 'idempotencyKey'>,
): (BrokenRule & { field: string }) | undefined {
  for (const field of ['correlationId', 'causationId'] as const) {
    const broken = brokenHeaderRule(event[field]);
    if (broken !== undefined) return { ...broken, field };
  }
  for (const field of ['version', 'idempotencyKey'] as const) {
    const broken = brokenTextRule(event[field]);
    if (broken !== undefined) return { ...broken, field };
  }
  return undefined;
}

/** Of data as JSON text. */
export function brokenDataRule(text: string): BrokenRule | undefined {
  // Most texts are too short to be too large in UTF-8 as well; only the others are counted.
  if (text.length * 3 > limits.eventDataBytesMax && Buffer.byteLength(text) > limits.eventDataBytesMax) {
    const rule = `must be at most ${limits.eventDataBytesMax} bytes (512 KiB) of JSON`;
    return { code: 'event_data_too_large', rule };
  }
  if (
    text.length * 2 > messageDataBytesMax &&
    Buffer.byteLength(JSON.stringify(text)) > messageDataBytesMax
  ) {
    const rule = `must fit one message: at most ${messageDataBytesMax} bytes with its quotes and backslashes escaped`;
    return { code: 'event_data_too_large', rule };
  }
  return isDeeperThan(text, dataDepthMax) ? dataTooDeep : undefined;
}

/** Also of data that cannot be written as JSON at all, for its depth. */
export const dataTooDeep: BrokenRule = {
  code: 'event_data_too_deep',
  rule: `must not nest arrays and objects deeper than ${dataDepthMax} levels`,
};

/** Of the time at which it is to be delivered. */
export function brokenTimeRule(atMs: number, nowMs: number): BrokenRule | undefined {
  if (atMs <= nowMs + limits.eventAheadMsMax) return undefined;
  return { code: 'invalid_request', rule: 'must be at most a year ahead' };
}

/** Of text that Postgres stores. */
export function brokenTextRule(text: string | undefined): BrokenRule | undefined {
  // Postgres' text has no NUL: one would fail the statement, and everybody else's events in it.
  if (text?.includes('\u0000') === true) {
    return { code: 'invalid_request', rule: 'must not contain the character U+0000' };
  }
  // Half a pair has no UTF-8: it would be stored as U+FFFD, and two different keys as the same one.
  if (text !== undefined && /\p{Surrogate}/u.test(text)) {
    return { code: 'invalid_request', rule: 'must be well-formed Unicode: surrogates come in pairs' };
  }
  return undefined;
}

/** Of text that travels in a message header. */
function brokenHeaderRule(text: string | undefined): BrokenRule | undefined {
  if (text === undefined || isHeaderText(text)) return undefined;
  const rule = 'must consist of printable ASCII characters, without a space at either end';
  return { code: 'invalid_request', rule };
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

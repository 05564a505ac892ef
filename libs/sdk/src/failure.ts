/** Anything that was thrown, as it is recorded. */
import { messageOf } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type { Failure } from '@ironflow/schema';
import { redactText } from './redaction.js';

const nameLengthMax = 256;

export function toFailure(thrown: unknown): Failure {
  if (!(thrown instanceof Error)) return { name: 'NonError', message: fit(describe(thrown)) };
  const stack = typeof thrown.stack === 'string' ? fit(thrown.stack) : undefined;
  return {
    name: storable(classOf(thrown)).slice(0, nameLengthMax),
    message: fit(thrown.message),
    ...(stack === undefined ? {} : { stack }),
  };
}

/** A class that did not set its name is still told by its constructor. */
function classOf(error: Error): string {
  return error.name === 'Error' ? (error.constructor?.name ?? 'Error') || 'Error' : String(error.name);
}

function describe(thrown: unknown): string {
  try {
    return messageOf(thrown);
  } catch {
    // An object without a prototype has no text.
    return 'a value that is not an error was thrown';
  }
}

function fit(text: string): string {
  // Before it is cut: a part of a secret would not be known for one.
  const clean = storable(redactText(String(text)));
  if (clean.length * 3 <= limits.errorMessageBytesMax) return clean;
  const bytes = Buffer.from(clean);
  if (bytes.length <= limits.errorMessageBytesMax) return clean;
  // A character that the cut went through is left out, and the ellipsis takes three bytes.
  return `${bytes.toString('utf8', 0, limits.errorMessageBytesMax - 3).replace(/\uFFFD+$/, '')}…`;
}

/** Postgres' text holds neither NUL nor half a surrogate pair. */
function storable(text: string): string {
  return Buffer.from(text).toString('utf8').replaceAll('\0', '\uFFFD');
}

/**
 * What a step or a function returns, as JSON text. A value is handed on only after it went through this text, so the
 * first run sees what every replay will see.
 */
import { limits } from '@ironflow/schema';
import { NonRetryableError } from './function-errors.js';

/** What is left of a value after it went through JSON. */
export type Jsonified<T> = unknown extends T
  ? T
  : T extends { toJSON(): infer Json }
    ? Jsonified<Json>
    : T extends string | number | boolean | null | undefined | void
      ? T
      : T extends bigint | symbol | ((...args: never[]) => unknown)
        ? never
        : T extends object
          ? { [Key in keyof T]: Jsonified<T[Key]> }
          : never;

/** A returned value cannot be stored. Trying again would return the same: never retried. */
export class OutputError extends NonRetryableError {
  override name = 'OutputError';
}

/** JSON text, `undefined` for no output; throws an OutputError that names the rule and the place, never the value. */
export function writeOutput(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const text = stringify(value);
  refuseWhatJsonDrops(value, '');
  // Most outputs are so small that their bytes need no counting.
  if (text.length * 3 > limits.stepOutputBytesMax) {
    const bytes = Buffer.byteLength(text);
    if (bytes > limits.stepOutputBytesMax) {
      throw new OutputError(
        `the output is ${bytes} bytes of JSON, above the limit of ${limits.stepOutputBytesMax} bytes (512 KiB)`,
      );
    }
  }
  return text;
}

export function readOutput(text: string | undefined): unknown {
  return text === undefined ? undefined : (JSON.parse(text) as unknown);
}

function stringify(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (thrown) {
    // V8's message quotes names of properties only in the circular case; keep to our own words.
    const bigint = thrown instanceof TypeError && thrown.message.includes('BigInt');
    const circular = thrown instanceof TypeError && thrown.message.includes('circular');
    const what = bigint ? 'it contains a BigInt' : circular ? 'it refers to itself' : 'its toJSON() threw';
    throw new OutputError(`the output cannot be stored as JSON: ${what}`);
  }
  if (text === undefined)
    throw new OutputError(`the output cannot be stored as JSON: it is a ${typeof value}`);
  return text;
}

/** JSON.stringify drops these without a word. Runs after it, so there is no circle and no toJSON() left to fail. */
function refuseWhatJsonDrops(value: unknown, path: string): void {
  if (typeof value === 'function' || typeof value === 'symbol') {
    throw new OutputError(`the output cannot be stored as JSON: there is a ${typeof value} at "${path}"`);
  }
  if (typeof value !== 'object' || value === null) return;
  if ('toJSON' in value && typeof value.toJSON === 'function') return;
  for (const key of Object.keys(value)) {
    const inner = (value as Record<string, unknown>)[key];
    if (
      inner === null ||
      (typeof inner !== 'object' && typeof inner !== 'function' && typeof inner !== 'symbol')
    ) {
      continue;
    }
    refuseWhatJsonDrops(inner, path === '' ? key : `${path}.${key}`);
  }
}

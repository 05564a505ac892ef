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
      : T extends
            | bigint
            | symbol
            | ((...args: never[]) => unknown)
            | ReadonlyMap<unknown, unknown>
            | ReadonlySet<unknown>
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
  const text = serialize(value);
  // Most outputs are so small that their bytes need no counting.
  if (text.length * 3 > limits.stepOutputBytesMax) {
    const bytes = Buffer.byteLength(text);
    if (bytes > limits.stepOutputBytesMax) throw tooLarge(bytes);
  }
  return text;
}

function tooLarge(bytes: number): OutputError {
  return new OutputError(
    `the output is ${bytes} bytes of JSON, above the limit of ${limits.stepOutputBytesMax} bytes`,
  );
}

export function readOutput(text: string | undefined): unknown {
  return text === undefined ? undefined : (JSON.parse(text) as unknown);
}

function serialize(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
    // Only then: there is no circle and no toJSON() left to fail.
    refuseWhatJsonChanges(value, '');
  } catch (thrown) {
    if (thrown instanceof OutputError) throw thrown;
    throw refusal(problemOf(thrown));
  }
  if (text === undefined) throw refusal(`it is a ${typeof value}`);
  return text;
}

/** In our own words: V8's quote names of properties. */
function problemOf(thrown: unknown): string {
  if (thrown instanceof RangeError) return 'it is nested too deeply';
  if (thrown instanceof TypeError && thrown.message.includes('BigInt')) return 'it contains a BigInt';
  if (thrown instanceof TypeError && thrown.message.includes('circular')) return 'it refers to itself';
  return 'its toJSON() threw';
}

/** What JSON.stringify drops, or makes null or {} of, without a word. */
function refuseWhatJsonChanges(value: unknown, path: string): void {
  const what = lossOf(value);
  if (what !== undefined) throw refusal(path === '' ? `it is ${what}` : `there is ${what} at "${path}"`);
  if (typeof value !== 'object' || value === null || hasOwnForm(value)) return;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      const inner: unknown = value[index];
      if (isWorthALook(inner)) refuseWhatJsonChanges(inner, `${path}[${index}]`);
    }
    return;
  }
  for (const key of Object.keys(value)) {
    const inner = (value as Record<string, unknown>)[key];
    if (isWorthALook(inner)) refuseWhatJsonChanges(inner, path === '' ? key : `${path}.${key}`);
  }
}

/** Most of any output is text and small numbers. */
function isWorthALook(value: unknown): boolean {
  return typeof value !== 'string' && typeof value !== 'boolean' && value !== null && value !== undefined;
}

const emptied = [Map, Set, WeakMap, WeakSet, Promise, Error] as const;

function lossOf(value: unknown): string | undefined {
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`;
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : String(value);
  if (typeof value !== 'object' || value === null) return undefined;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'an invalid Date' : undefined;
  if (hasOwnForm(value)) return undefined;
  const kind = emptied.find((constructor) => value instanceof constructor);
  return kind === undefined ? undefined : `${kind === Error ? 'an' : 'a'} ${kind.name}`;
}

function hasOwnForm(value: object): boolean {
  return 'toJSON' in value && typeof value.toJSON === 'function';
}

function refusal(problem: string): OutputError {
  return new OutputError(`the output cannot be stored as JSON: ${problem}`);
}

/**
 * Values that flow control asks an event for (docs/flow-control.md): keys, which tell apart what a rule counts, and
 * priorities. Pure.
 *
 * V1 A key is a text: a text as it is, anything else as JSON with the fields of maps in order, so that 5, 5.0 and "5" are the
 *    same key, whichever way an event spells it. No value, or null, is no key.
 * V2 It is written no further than a key may be long: loops make small lists that are endless once written out.
 */
import { Optional } from '@marcbachmann/cel-js';
import { limits } from '@ironflow/schema';
import type { FunctionEvent } from '@ironflow/schema';
import { parseExpression, refusalOfType, unexpectedFailure } from './expression.js';
import type { Failure, Refusal } from './expression.js';

interface ValueOf {
  /** Nothing: the event has none. */
  key: string | undefined;
  /** Seconds within what is allowed; 0 where the event says nothing. */
  priority: number;
}
export type ValueUse = keyof ValueOf;

export type ValueResult<Use extends ValueUse = ValueUse> = { kind: 'value'; value: ValueOf[Use] } | Failure;

export interface CompiledValue<Use extends ValueUse = ValueUse> {
  kind: 'compiled';
  /** Never throws; takes as long as it takes. */
  run(event: FunctionEvent): ValueResult<Use>;
  /** How often it may read the data from end to end; infinite where its shape does not tell. */
  readingsMax: number;
}

export type Value<Use extends ValueUse = ValueUse> = CompiledValue<Use> | Refusal;

interface Kind<Use extends ValueUse> {
  rule: string;
  /** Types of CEL that cannot become one. */
  refusedTypes: RegExp;
  reason: string;
  convert: (value: unknown) => ValueResult<Use>;
}

const kinds: { [Use in ValueUse]: Kind<Use> } = {
  key: {
    rule: 'must be a text, a number, a boolean, or a list or map of them',
    refusedTypes: /^(bytes|uint|type|google\.protobuf\..*)$/,
    reason: 'result_not_key',
    convert: keyOf,
  },
  priority: {
    rule: 'must be a number of seconds',
    refusedTypes: /^(string|bool|bytes|uint|type|list.*|map.*|google\.protobuf\..*)$/,
    reason: 'result_not_number',
    convert: priorityOf,
  },
};

/** Never throws. */
export function compileValue<Use extends ValueUse>(expression: string, use: Use): Value<Use> {
  const parsed = parseExpression(expression, 'event');
  if (parsed.kind === 'refused') return parsed;
  const { rule, refusedTypes, reason, convert } = kinds[use];
  const { type, evaluate, readingsMax } = parsed;
  if (refusedTypes.test(/^optional<(.*)>$/.exec(type)?.[1] ?? type)) return refusalOfType(rule, type, reason);
  return {
    kind: 'compiled',
    run: (event) => {
      const result = evaluate(event);
      if (result.kind === 'error') return result;
      try {
        return convert(presentValue(result.value));
      } catch (thrown) {
        return unexpectedFailure(thrown);
      }
    },
    readingsMax,
  };
}

function presentValue(value: unknown): unknown {
  return value instanceof Optional ? value.orValue(undefined) : value;
}

function keyOf(value: unknown): ValueResult<'key'> {
  if (value === undefined || value === null) return { kind: 'value', value: undefined };
  const text = typeof value === 'string' ? value : jsonOf(value);
  if (text === undefined) return { kind: 'error', reason: kinds.key.reason };
  if (isTooLong(text)) return { kind: 'error', reason: 'key_too_long' };
  // What no column of text takes.
  if (/\p{Surrogate}/u.test(text) || text.includes('\0')) return { kind: 'error', reason: 'key_not_text' };
  return { kind: 'value', value: text };
}

function isTooLong(text: string): boolean {
  return text.length > limits.flowKeyBytesMax || Buffer.byteLength(text) > limits.flowKeyBytesMax;
}

function priorityOf(value: unknown): ValueResult<'priority'> {
  const seconds = value ?? 0;
  if ((typeof seconds !== 'number' && typeof seconds !== 'bigint') || Number.isNaN(seconds)) {
    return { kind: 'error', reason: kinds.priority.reason };
  }
  const { prioritySecondsMax: max } = limits;
  return { kind: 'value', value: Math.min(max, Math.max(-max, Number(seconds))) };
}

/** Nothing where JSON has no word for it; where it is too long, as much as shows that. */
function jsonOf(value: unknown): string | undefined {
  let text = '';
  for (const piece of jsonPieces(value)) {
    if (piece === undefined) return undefined;
    text += piece;
    if (text.length > limits.flowKeyBytesMax) break;
  }
  return text;
}

function* jsonPieces(value: unknown): Generator<string | undefined> {
  const present = presentValue(value);
  if (present === null || present === undefined) yield 'null';
  else if (typeof present === 'number') yield Number.isFinite(present) ? JSON.stringify(present) : undefined;
  else if (typeof present === 'bigint' || typeof present === 'boolean') yield String(present);
  else if (typeof present === 'string') yield JSON.stringify(present);
  else if (Array.isArray(present)) yield* jsonPiecesOfList(present);
  else if (isMap(present)) yield* jsonPiecesOfMap(present);
  else yield undefined;
}

function* jsonPiecesOfList(items: readonly unknown[]): Generator<string | undefined> {
  yield '[';
  for (const [index, item] of items.entries()) {
    if (index > 0) yield ',';
    yield* jsonPieces(item);
  }
  yield ']';
}

function* jsonPiecesOfMap(map: Record<string, unknown>): Generator<string | undefined> {
  yield '{';
  const names = Object.keys(map);
  // The order of more than will be written does not matter.
  if (names.length <= limits.flowKeyBytesMax) names.sort();
  for (const [index, name] of names.entries()) {
    yield `${index > 0 ? ',' : ''}${JSON.stringify(name)}:`;
    yield* jsonPieces(map[name]);
  }
  yield '}';
}

function isMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

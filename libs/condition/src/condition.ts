/**
 * Conditions: CEL over `event`, and for what a run waits for over `trigger` as well, the event that started the run. What may be one is said here alone, for the api, which refuses it when it is
 * registered, and for the scheduler, which runs it. The expressions are tenants' and run in a process that serves all of
 * them, so their size and shape are bounded here; their time is the scheduler's to bound. Pure.
 *
 * C1 What compiles for the one compiles for the other: there is one environment, and one way through it.
 * C2 A reason is the library's code with the place in the expression, never its message, which may quote the event's
 *    data. A rule is for whoever wrote the expression, made before there is an event.
 */
import { Environment, EvaluationError, ParseError, TypeError as CelTypeError } from '@marcbachmann/cel-js';
import type { ParseResult, TypeCheckResult } from '@marcbachmann/cel-js';
import type { FunctionEvent } from '@ironflow/schema';
import { searchLengthMax, shapeOf } from './shape.js';
import type { Shape } from './shape.js';

export type ConditionResult = { kind: 'true' } | { kind: 'false' } | { kind: 'error'; reason: string };

export interface CompiledCondition {
  kind: 'compiled';
  /** Never throws; takes as long as it takes. */
  run(event: FunctionEvent, trigger?: FunctionEvent): ConditionResult;
  /** How often it may read the data from end to end; infinite where its shape does not tell. */
  readingsMax: number;
}

interface Refusal {
  /** What it has to be, for the one who can mend it; it follows the name of the field. */
  rule: string;
  /** What it was refused for, as is kept with a run. */
  reason: string;
}
export type Condition = CompiledCondition | ({ kind: 'refused' } & Refusal);

/** A sensible condition has a tenth of each; the largest one that they allow compiles in milliseconds. */
const celLimits = {
  maxAstNodes: 1_000,
  maxDepth: 48,
  maxListElements: 500,
  maxMapEntries: 100,
  maxCallArguments: 8,
};
/** Each adds its operands' lengths; a few dozen of them over the largest event stay harmless. */
const additionsMax = 32;
/** Within chained loops each may double a length, which ends a process sooner than a time limit ends it. */
const additionsWithLoopsMax = 6;
const summaryLengthMax = 300;

/** What an expression is over. */
export type ConditionVariable = 'event' | 'trigger';

const eventEnvironment = new Environment({
  // JSON mixes types in lists and maps, and optional fields are what events have.
  homogeneousAggregateLiterals: false,
  enableOptionalTypes: true,
  limits: celLimits,
}).registerVariable('event', 'map');
const environments: Record<ConditionVariable, Environment> = {
  event: eventEnvironment,
  trigger: eventEnvironment.clone().registerVariable('trigger', 'map'),
};

/** Never throws. With `trigger` the expression may name both. */
export function compileCondition(expression: string, over: ConditionVariable = 'event'): Condition {
  try {
    const parsed = environments[over].parse(expression);
    const shape = shapeOf(parsed.ast);
    const refusal = refusalOfShape(shape) ?? refusalOfTypes(parsed.check(), over);
    if (refusal !== undefined) return { kind: 'refused', ...refusal };
    return {
      kind: 'compiled',
      run: (event, trigger) => runParsed(parsed, trigger === undefined ? { event } : { event, trigger }),
      readingsMax: shape.isDirect ? shape.references : Infinity,
    };
  } catch (thrown) {
    return { kind: 'refused', ...refusalOfError(thrown, over) };
  }
}

function refusalOfShape({ refused, openSearch, additions, hasLoop }: Shape): Refusal | undefined {
  if (refused !== undefined) {
    return {
      rule: `must not use ${refused}(), which is not available`,
      reason: `${refused}() is not available`,
    };
  }
  if (openSearch !== undefined) {
    return {
      rule: `must give ${openSearch}() a text of at most ${searchLengthMax} characters in quotes`,
      reason: `${openSearch}() takes only a short text`,
    };
  }
  const max = hasLoop ? additionsWithLoopsMax : additionsMax;
  if (additions <= max) return undefined;
  const where = hasLoop ? ' where it has loops' : '';
  return { rule: `must not have more than ${max} additions${where}`, reason: 'too many additions' };
}

/** What is known only once it runs may still be a boolean. */
function refusalOfTypes(
  { valid, type, error }: TypeCheckResult,
  over: ConditionVariable,
): Refusal | undefined {
  if (!valid) return refusalOfError(error, over);
  const result = type ?? 'dyn';
  if (result === 'bool' || result === 'dyn') return undefined;
  const rule = `must be a condition: this is of type ${result}`.slice(0, summaryLengthMax);
  return { rule, reason: 'result_not_boolean' };
}

function refusalOfError(thrown: unknown, over: ConditionVariable): Refusal {
  const variables = over === 'trigger' ? '"event" and "trigger"' : '"event"';
  const summary = isCelError(thrown) ? `: ${thrown.summary.slice(0, summaryLengthMax)}` : '';
  return { rule: `must be valid CEL over ${variables}${summary}`, reason: reasonOf(thrown) };
}

function runParsed(
  parsed: ParseResult,
  variables: Partial<Record<ConditionVariable, FunctionEvent>>,
): ConditionResult {
  try {
    const result: unknown = parsed(variables);
    if (typeof result !== 'boolean') return { kind: 'error', reason: 'result_not_boolean' };
    return { kind: result ? 'true' : 'false' };
  } catch (thrown) {
    return { kind: 'error', reason: reasonOf(thrown) };
  }
}

function reasonOf(thrown: unknown): string {
  if (!isCelError(thrown)) return 'unexpected_failure';
  const at = thrown.range === undefined ? '' : ` at character ${thrown.range.start + 1}`;
  return `${thrown.code}${at}`;
}

function isCelError(thrown: unknown): thrown is EvaluationError | ParseError | CelTypeError {
  return thrown instanceof EvaluationError || thrown instanceof ParseError || thrown instanceof CelTypeError;
}

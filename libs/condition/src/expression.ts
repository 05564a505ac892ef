/**
 * The CEL that tenants write: over `event`, and for what a run waits for over `trigger` as well, the event that started the
 * run. It runs in a process that serves all of them, so its size and shape are bounded here; its time is the scheduler's to
 * bound. What it has to be the value of is its neighbours' affair: condition.ts and value.ts. Pure.
 *
 * C1 What compiles for the api, which refuses it when it is registered, compiles for the scheduler, which runs it: there is
 *    one environment, and one way through it.
 * C2 A reason is the library's code with the place in the expression, never its message, which may quote the event's
 *    data. A rule is for whoever wrote the expression, made before there is an event.
 */
import { Environment, EvaluationError, ParseError, TypeError as CelTypeError } from '@marcbachmann/cel-js';
import type { ParseResult } from '@marcbachmann/cel-js';
import type { FunctionEvent } from '@ironflow/schema';
import { searchLengthMax, shapeOf } from './shape.js';
import type { Shape } from './shape.js';

/** What an expression is over. */
export type ExpressionVariable = 'event' | 'trigger';

export interface Refusal {
  kind: 'refused';
  /** What it has to be, for the one who can mend it; it follows the name of the field. */
  rule: string;
  /** What it was refused for, as is kept with a run. */
  reason: string;
}

export interface Failure {
  kind: 'error';
  reason: string;
}

export interface ParsedExpression {
  kind: 'parsed';
  /** As CEL names it; `dyn` is what is known only once it runs. */
  type: string;
  /** Never throws; takes as long as it takes. */
  evaluate: (event: FunctionEvent, trigger?: FunctionEvent) => { kind: 'value'; value: unknown } | Failure;
  /** How often it may read the data from end to end; infinite where its shape does not tell. */
  readingsMax: number;
}

/** A sensible expression has a tenth of each; the largest one that they allow compiles in milliseconds. */
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

const eventEnvironment = new Environment({
  // JSON mixes types in lists and maps, and optional fields are what events have.
  homogeneousAggregateLiterals: false,
  enableOptionalTypes: true,
  limits: celLimits,
}).registerVariable('event', 'map');
const environments: Record<ExpressionVariable, Environment> = {
  event: eventEnvironment,
  trigger: eventEnvironment.clone().registerVariable('trigger', 'map'),
};

/** Never throws. With `trigger` the expression may name both. */
export function parseExpression(expression: string, over: ExpressionVariable): ParsedExpression | Refusal {
  try {
    const parsed = environments[over].parse(expression);
    const shape = shapeOf(parsed.ast);
    const refusal = refusalOfShape(shape);
    if (refusal !== undefined) return refusal;
    const { valid, type, error } = parsed.check();
    if (!valid) return refusalOfError(error, over);
    return {
      kind: 'parsed',
      type: type ?? 'dyn',
      evaluate: (event, trigger) => evaluate(parsed, trigger === undefined ? { event } : { event, trigger }),
      readingsMax: shape.isDirect ? shape.references : Infinity,
    };
  } catch (thrown) {
    return refusalOfError(thrown, over);
  }
}

/** For one that is of a type that it must not be of; `rule` says what it must be. */
export function refusalOfType(rule: string, type: string, reason: string): Refusal {
  return { kind: 'refused', rule: `${rule}: this is of type ${type}`.slice(0, summaryLengthMax), reason };
}

export function unexpectedFailure(thrown: unknown): Failure {
  return { kind: 'error', reason: reasonOf(thrown) };
}

function refusalOfShape({ refused, openSearch, additions, hasLoop }: Shape): Refusal | undefined {
  if (refused !== undefined) {
    return {
      kind: 'refused',
      rule: `must not use ${refused}(), which is not available`,
      reason: `${refused}() is not available`,
    };
  }
  if (openSearch !== undefined) {
    return {
      kind: 'refused',
      rule: `must give ${openSearch}() a text of at most ${searchLengthMax} characters in quotes`,
      reason: `${openSearch}() takes only a short text`,
    };
  }
  const max = hasLoop ? additionsWithLoopsMax : additionsMax;
  if (additions <= max) return undefined;
  const where = hasLoop ? ' where it has loops' : '';
  return {
    kind: 'refused',
    rule: `must not have more than ${max} additions${where}`,
    reason: 'too many additions',
  };
}

function refusalOfError(thrown: unknown, over: ExpressionVariable): Refusal {
  const variables = over === 'trigger' ? '"event" and "trigger"' : '"event"';
  const summary = isCelError(thrown) ? `: ${thrown.summary.slice(0, summaryLengthMax)}` : '';
  return {
    kind: 'refused',
    rule: `must be valid CEL over ${variables}${summary}`,
    reason: reasonOf(thrown),
  };
}

function evaluate(parsed: ParseResult, variables: Partial<Record<ExpressionVariable, FunctionEvent>>) {
  try {
    return { kind: 'value' as const, value: parsed(variables) as unknown };
  } catch (thrown) {
    return unexpectedFailure(thrown);
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

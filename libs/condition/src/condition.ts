/** Conditions: expressions that hold or do not. Pure. */
import type { FunctionEvent } from '@ironflow/schema';
import { parseExpression, refusalOfType } from './expression.js';
import type { ExpressionVariable, Failure, Refusal } from './expression.js';

export type ConditionResult = { kind: 'true' } | { kind: 'false' } | Failure;

export interface CompiledCondition {
  kind: 'compiled';
  /** Never throws; takes as long as it takes. */
  run(event: FunctionEvent, trigger?: FunctionEvent): ConditionResult;
  /** How often it may read the data from end to end; infinite where its shape does not tell. */
  readingsMax: number;
}

export type Condition = CompiledCondition | Refusal;

const notBoolean = 'result_not_boolean';

/** Never throws. With `trigger` the expression may name both. */
export function compileCondition(expression: string, over: ExpressionVariable = 'event'): Condition {
  const parsed = parseExpression(expression, over);
  if (parsed.kind === 'refused') return parsed;
  const { type, evaluate, readingsMax } = parsed;
  // What is known only once it runs may still be a boolean.
  if (type !== 'bool' && type !== 'dyn') return refusalOfType('must be a condition', type, notBoolean);
  return {
    kind: 'compiled',
    run: (event, trigger) => {
      const result = evaluate(event, trigger);
      if (result.kind === 'error') return result;
      if (typeof result.value !== 'boolean') return { kind: 'error', reason: notBoolean };
      return { kind: result.value ? 'true' : 'false' };
    },
    readingsMax,
  };
}

export { compileCondition } from './condition.js';
export type { CompiledCondition, Condition, ConditionResult } from './condition.js';
export type { ExpressionVariable as ConditionVariable } from './expression.js';
export { compileValue } from './value.js';
export type { CompiledValue, Value, ValueResult, ValueUse } from './value.js';

export { compileCondition } from './condition.js';
export type { CompiledCondition, Condition, ConditionResult, ConditionVariable } from './condition.js';

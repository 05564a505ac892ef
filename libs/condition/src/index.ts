export { compileCondition } from './condition.js';
export type { CompiledCondition, Condition, ConditionResult } from './condition.js';

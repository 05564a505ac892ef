/**
 * What a trigger's condition has to satisfy to be registered: the same that the scheduler asks of it before it runs it,
 * told to the one who can mend it. Pure.
 */
import { Environment } from '@marcbachmann/cel-js';
import type { ASTNode } from '@marcbachmann/cel-js';
import { messageOf } from '@ironflow/errors';

/** As in the scheduler, where they keep a tenant's expression from holding up everybody else's events. */
const celLimits = {
  maxAstNodes: 1_000,
  maxDepth: 48,
  maxListElements: 500,
  maxMapEntries: 100,
  maxCallArguments: 8,
};
const additionsMax = 32;
/** They build texts exponentially longer than what they are given. */
const refusedFunctions = new Set(['bind', 'join']);
const messageLengthMax = 300;

const environment = new Environment({
  homogeneousAggregateLiterals: false,
  enableOptionalTypes: true,
  limits: celLimits,
}).registerVariable('event', 'map');

/** The broken rule, or `undefined`. */
export function brokenConditionRule(expression: string): string | undefined {
  try {
    const compiled = environment.parse(expression);
    const shape = inspect(compiled.ast, { additions: 0, refused: undefined });
    if (shape.refused !== undefined) return `must not use ${shape.refused}(), which is not available`;
    if (shape.additions > additionsMax) return `must not have more than ${additionsMax} additions`;
    const checked = compiled.check();
    if (!checked.valid) return `must be valid CEL over "event": ${firstLine(messageOf(checked.error))}`;
    const type = String(checked.type ?? 'dyn');
    return type === 'bool' || type === 'dyn' ? undefined : `must be a condition: this is of type ${type}`;
  } catch (error) {
    return `must be valid CEL: ${firstLine(messageOf(error))}`;
  }
}

interface Shape {
  additions: number;
  refused: string | undefined;
}

function inspect(value: unknown, shape: Shape): Shape {
  if (Array.isArray(value)) {
    for (const item of value) inspect(item, shape);
    return shape;
  }
  if (typeof value !== 'object' || value === null || !('op' in value)) return shape;
  const node = value as ASTNode;
  if ((node.op === 'call' || node.op === 'rcall') && refusedFunctions.has(node.args[0])) {
    shape.refused ??= node.args[0];
  }
  if (node.op === '+') shape.additions += 1;
  return inspect(node.args, shape);
}

/** The lines below it draw the expression, which whoever reads this has. */
function firstLine(message: string): string {
  return message.split('\n', 1)[0]!.slice(0, messageLengthMax);
}

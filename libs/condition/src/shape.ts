/** What a condition's syntax tells of the work that it may cause. Pure. */
import type { ASTNode } from '@marcbachmann/cel-js';

export interface Shape {
  additions: number;
  /** Variables named. */
  references: number;
  hasLoop: boolean;
  /** Without loops, additions and regular expressions it reads the data at most as often as it names it. */
  isDirect: boolean;
  /** The first function of it that is not available. */
  refused: string | undefined;
  /** The first function of it that searches for something other than a short text written in the expression. */
  openSearch: string | undefined;
}

/** They build texts exponentially longer than what they are given, which no time limit stops in time. */
const refusedFunctions = new Set(['bind', 'join']);
const loopFunctions = new Set(['all', 'exists', 'exists_one', 'map', 'filter']);
/**
 * They are one call of the engine, which takes the product of both lengths for texts made for it, a literal regular
 * expression included, and which no time limit interrupts: eleven seconds for the largest event.
 */
const searchFunctions = new Set(['contains', 'indexOf', 'lastIndexOf', 'split', 'matches']);
/** As many passes over the data at the very worst, some forty milliseconds. */
export const searchLengthMax = 256;
/** Each reads its arguments at most once. */
const directFunctions = new Set(['has', 'size', 'startsWith', 'endsWith', 'int', 'double', 'string']);

export function shapeOf(tree: ASTNode): Shape {
  const shape: Shape = {
    additions: 0,
    references: 0,
    hasLoop: false,
    isDirect: true,
    refused: undefined,
    openSearch: undefined,
  };
  inspect(tree, shape);
  return shape;
}

/** Walks whatever looks like a node, so that a new kind of node counts as not direct instead of being missed. */
function inspect(value: unknown, shape: Shape): void {
  if (Array.isArray(value)) {
    for (const item of value) inspect(item, shape);
    return;
  }
  if (typeof value !== 'object' || value === null || !('op' in value)) return;
  const node = value as ASTNode;
  if (node.op === 'call' || node.op === 'rcall') {
    const name = node.args[0];
    if (refusedFunctions.has(name)) shape.refused ??= name;
    if (searchFunctions.has(name) && !isShortText(node.args.at(-1))) shape.openSearch ??= name;
    if (loopFunctions.has(name)) shape.hasLoop = true;
    if (!directFunctions.has(name)) shape.isDirect = false;
  } else if (node.op === 'id') {
    shape.references += 1;
  } else if (node.op === '+') {
    shape.additions += 1;
    shape.isDirect = false;
  }
  inspect(node.args, shape);
}

/** What is searched for is the first argument of a method. */
function isShortText(methodArguments: unknown): boolean {
  const sought: unknown = Array.isArray(methodArguments) ? methodArguments[0] : undefined;
  if (typeof sought !== 'object' || sought === null || !('op' in sought) || !('args' in sought)) return false;
  return sought.op === 'value' && typeof sought.args === 'string' && sought.args.length <= searchLengthMax;
}

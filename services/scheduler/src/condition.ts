/**
 * Trigger conditions: CEL over `event`, compiled once per expression. The expressions are tenants' and run inside the
 * scheduler that serves all of them, so everything about them is bounded: their size and shape when they are compiled,
 * their time when they run. What went wrong is told by the library's code and the place in the expression, never by its
 * message, which may quote the event's data.
 *
 * C1 An expression without loops and regular expressions reads the data at most as often as it names it. Where that is
 *    little in all it runs directly, and nothing can interrupt it.
 * C2 Everything else runs under a limit of processor time, which a busy machine does not shorten.
 * C3 One that exceeded the limit is not tried again for a while: a tenant cannot hold up its neighbours event by event.
 * C4 What the machine was too busy to judge is undecided: neither true nor false nor wrong, to be asked again later.
 */
import { Environment, EvaluationError, ParseError, TypeError as CelTypeError } from '@marcbachmann/cel-js';
import type { ASTNode, ParseResult } from '@marcbachmann/cel-js';
import type { FunctionEvent, StoredEvent } from '@ironflow/schema';
import { withinTimeLimit } from './time-limit.js';

export type Verdict =
  { kind: 'true' } | { kind: 'false' } | { kind: 'error'; reason: string } | { kind: 'undecided' };

/** One event as all of its conditions see it. */
export interface ConditionSubject {
  readonly event: FunctionEvent;
  readonly dataLength: number;
  /** What all conditions of this event together may still take of the processor. */
  remainingMs: number;
}

export interface Conditions {
  /** Never throws. */
  evaluate(expression: string, subject: ConditionSubject): Verdict;
}

export interface ConditionsOptions {
  /** Monotonic milliseconds. Default: the process' own. */
  monotonicMs?: () => number;
  timeLimitMs?: number;
  penaltyMs?: number;
  expressionsMax?: number;
}

/** A thousand times what a sensible condition needs, and above a pause of the garbage collector. */
const defaultTimeLimitMs = 50;
const eventTimeLimitMs = 150;
const defaultPenaltyMs = 10_000;
/** A compiled expression takes a few kilobytes. */
const defaultExpressionsMax = 5_000;
/** Characters of data read by one expression: as many are compared or searched in about ten milliseconds. */
const directReadingMax = 1024 * 1024;
/** Each adds its operands' lengths; a few dozen of them over the largest event stay harmless. */
const additionsMax = 32;
/** Within chained loops each may double a length, which ends a process sooner than a time limit ends it. */
const additionsWithLoopsMax = 6;

const celLimits = {
  maxAstNodes: 1_000,
  maxDepth: 48,
  maxListElements: 500,
  maxMapEntries: 100,
  maxCallArguments: 8,
};
/** They build texts exponentially longer than what they are given, which no time limit stops in time. */
const refusedFunctions = new Set(['bind', 'join']);
const loopFunctions = new Set(['all', 'exists', 'exists_one', 'map', 'filter']);
/** Each reads its arguments at most once. */
const directFunctions = new Set([
  'has',
  'size',
  'startsWith',
  'endsWith',
  'contains',
  'int',
  'double',
  'string',
]);

interface Compiled {
  run: ParseResult;
  /** How often it may read the data from end to end; infinite where its shape does not tell. */
  readingsMax: number;
  /** Not tried again before this, after it exceeded the time limit. */
  penaltyUntilMs: number;
}
type Entry = Compiled | { reason: string };

export function createConditions(options: ConditionsOptions = {}): Conditions {
  const { monotonicMs = () => performance.now(), timeLimitMs = defaultTimeLimitMs } = options;
  const { penaltyMs = defaultPenaltyMs, expressionsMax = defaultExpressionsMax } = options;
  const entries = new Map<string, Entry>();

  const entryOf = (expression: string): Entry => {
    const known = entries.get(expression);
    if (known !== undefined) return known;
    // The oldest makes room: a registry in use comes back within one event.
    if (entries.size >= expressionsMax) entries.delete(entries.keys().next().value!);
    const entry = compile(expression);
    entries.set(expression, entry);
    return entry;
  };

  const runLimited = (entry: Compiled, subject: ConditionSubject): Verdict => {
    if (subject.remainingMs <= 0 || monotonicMs() < entry.penaltyUntilMs) return error('time_limit_exceeded');
    const outcome = withinTimeLimit(timeLimitMs, () => runCompiled(entry, subject));
    subject.remainingMs -= outcome.usedMs;
    switch (outcome.kind) {
      case 'ended':
        return outcome.value;
      case 'undecided':
        return { kind: 'undecided' };
      case 'exceeded':
        entry.penaltyUntilMs = monotonicMs() + penaltyMs;
        return error('time_limit_exceeded');
    }
  };

  return {
    evaluate: (expression, subject) => {
      const entry = entryOf(expression);
      if ('reason' in entry) return { kind: 'error', reason: entry.reason };
      const isDirect = entry.readingsMax * subject.dataLength <= directReadingMax;
      return isDirect ? runCompiled(entry, subject) : runLimited(entry, subject);
    },
  };
}

/** The data is parsed when the first condition of the event looks at it, and only then. */
export function createConditionSubject(stored: StoredEvent): ConditionSubject {
  let parsed: { data: unknown } | undefined;
  const event: FunctionEvent = {
    id: stored.id,
    name: stored.name,
    get data() {
      parsed ??= { data: JSON.parse(stored.data) as unknown };
      return parsed.data;
    },
    ...(stored.version === undefined ? {} : { version: stored.version }),
    receivedAt: new Date(stored.receivedAtMs).toISOString(),
    correlationId: stored.correlationId,
  };
  return { event, dataLength: stored.data.length, remainingMs: eventTimeLimitMs };
}

const environment = new Environment({
  // JSON mixes types in lists and maps, and optional fields are what events have.
  homogeneousAggregateLiterals: false,
  enableOptionalTypes: true,
  limits: celLimits,
}).registerVariable('event', 'map');

function compile(expression: string): Entry {
  try {
    const run = environment.parse(expression);
    const shape: Shape = { additions: 0, references: 0, hasLoop: false, isDirect: true, refused: undefined };
    inspect(run.ast, shape);
    if (shape.refused !== undefined)
      return { reason: `condition_error: ${shape.refused}() is not available` };
    if (shape.additions > (shape.hasLoop ? additionsWithLoopsMax : additionsMax))
      return { reason: 'condition_error: too many additions' };
    const checked = run.check();
    if (!checked.valid) return { reason: reasonOf(checked.error) };
    return { run, readingsMax: shape.isDirect ? shape.references : Infinity, penaltyUntilMs: 0 };
  } catch (thrown) {
    return { reason: reasonOf(thrown) };
  }
}

function runCompiled(entry: Compiled, subject: ConditionSubject): Verdict {
  try {
    const result: unknown = entry.run({ event: subject.event });
    if (typeof result !== 'boolean') return error('result_not_boolean');
    return { kind: result ? 'true' : 'false' };
  } catch (thrown) {
    return { kind: 'error', reason: reasonOf(thrown) };
  }
}

interface Shape {
  additions: number;
  references: number;
  hasLoop: boolean;
  isDirect: boolean;
  refused: string | undefined;
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

function reasonOf(thrown: unknown): string {
  const isCel =
    thrown instanceof EvaluationError || thrown instanceof ParseError || thrown instanceof CelTypeError;
  if (!isCel) return 'condition_error: unexpected_failure';
  const at = thrown.range === undefined ? '' : ` at character ${thrown.range.start + 1}`;
  return `condition_error: ${thrown.code ?? 'failed'}${at}`;
}

function error(code: string): Verdict {
  return { kind: 'error', reason: `condition_error: ${code}` };
}

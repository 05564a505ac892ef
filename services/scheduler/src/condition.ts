/**
 * Conditions of triggers and of waits as the scheduler runs them: compiled once per expression, under limits of time. What may be one, and
 * what compiling and running it answer, is in @ironflow/condition, which the api asks too before it registers one.
 *
 * C1 An expression without loops and regular expressions reads the data at most as often as it names it. Where that is
 *    little in all it runs directly, and nothing can interrupt it.
 * C2 Everything else runs under a limit of processor time, which a busy machine does not shorten.
 * C3 One that exceeded the limit is not tried again for a while: a tenant cannot hold up its neighbours event by event.
 * C4 What the machine was too busy to judge is undecided: neither true nor false nor wrong, to be asked again later.
 */
import { compileCondition, compileValue } from '@ironflow/condition';
import type { Condition, ConditionResult, Value, ValueResult, ValueUse } from '@ironflow/condition';
import type { FunctionEvent, StoredEvent } from '@ironflow/schema';
import { withinTimeLimit } from './time-limit.js';

export type Verdict =
  | Exclude<ConditionResult, { kind: 'error' }>
  /** `rule`: what the expression would have to be; it can hold for no event. */
  | { kind: 'error'; reason: string; rule?: string }
  | { kind: 'undecided' };

/** One event as all of its conditions see it. */
export interface ConditionSubject {
  readonly event: FunctionEvent;
  /** For what a run waits for: the event that started it. */
  readonly trigger?: FunctionEvent;
  readonly dataLength: number;
  /** What all conditions of this event together may still take of the processor. */
  remainingMs: number;
}

export type ValueVerdict<Use extends ValueUse = ValueUse> = ValueResult<Use> | { kind: 'undecided' };

export interface Conditions {
  /** Never throws. */
  evaluate(expression: string, subject: ConditionSubject): Verdict;
  /** The same for a key or a priority of flow control. */
  valueOf<Use extends ValueUse>(expression: string, use: Use, subject: ConditionSubject): ValueVerdict<Use>;
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

interface Entry<Compiled> {
  compiled: Compiled;
  /** Not tried again before this, after it exceeded the time limit. */
  penaltyUntilMs: number;
}

export function createConditions(options: ConditionsOptions = {}): Conditions {
  const { monotonicMs = () => performance.now(), timeLimitMs = defaultTimeLimitMs } = options;
  const { penaltyMs = defaultPenaltyMs, expressionsMax = defaultExpressionsMax } = options;
  const conditions = new Map<string, Entry<Condition>>();
  const values = new Map<string, Entry<Value>>();

  const entryOf = <Compiled>(
    entries: Map<string, Entry<Compiled>>,
    key: string,
    compile: () => Compiled,
  ): Entry<Compiled> => {
    const known = entries.get(key);
    if (known !== undefined) return known;
    // The oldest makes room: a registry in use comes back within one event.
    if (entries.size >= expressionsMax) entries.delete(entries.keys().next().value!);
    const entry = { compiled: compile(), penaltyUntilMs: 0 };
    entries.set(key, entry);
    return entry;
  };

  /** Directly where it reads little, and otherwise under the limit of time. */
  const run = <Result>(
    entry: Entry<unknown>,
    readingsMax: number,
    subject: ConditionSubject,
    work: () => Result,
  ): Result | Failed | { kind: 'undecided' } => {
    if (readingsMax * subject.dataLength <= directReadingMax) return work();
    if (subject.remainingMs <= 0 || monotonicMs() < entry.penaltyUntilMs)
      return failed('time_limit_exceeded');
    const outcome = withinTimeLimit(timeLimitMs, work);
    subject.remainingMs -= outcome.usedMs;
    switch (outcome.kind) {
      case 'ended':
        return outcome.value;
      case 'undecided':
        return { kind: 'undecided' };
      case 'exceeded':
        entry.penaltyUntilMs = monotonicMs() + penaltyMs;
        return failed('time_limit_exceeded');
    }
  };

  return {
    evaluate: (expression, subject) => {
      const over = subject.trigger === undefined ? 'event' : 'trigger';
      const entry = entryOf(conditions, `${over} ${expression}`, () => compileCondition(expression, over));
      const { compiled } = entry;
      if (compiled.kind === 'refused') return { ...conditionError(compiled.reason), rule: compiled.rule };
      const result = run(entry, compiled.readingsMax, subject, () =>
        compiled.run(subject.event, subject.trigger),
      );
      return result.kind === 'error' ? conditionError(result.reason) : result;
    },
    valueOf: (expression, use, subject) => {
      const entry = entryOf(values, `${use} ${expression}`, () => compileValue(expression, use));
      // What was compiled for a use answers with its values.
      const compiled = entry.compiled as Value<typeof use>;
      if (compiled.kind === 'refused') return failed(compiled.reason);
      return run(entry, compiled.readingsMax, subject, () => compiled.run(subject.event));
    },
  };
}

interface Failed {
  kind: 'error';
  reason: string;
}

export function createConditionSubject(stored: StoredEvent): ConditionSubject {
  return { event: functionEventOf(stored), dataLength: stored.data.length, remainingMs: eventTimeLimitMs };
}

/** The same event for many subjects is parsed once. */
export interface ParsedEvent {
  readonly event: FunctionEvent;
  readonly dataLength: number;
}

/** For what a run waits for, or is cancelled by: beside the event, the one that started the run. */
export function createPairSubject(of: ParsedEvent, trigger: StoredEvent): ConditionSubject {
  return {
    event: of.event,
    trigger: functionEventOf(trigger),
    dataLength: of.dataLength + trigger.data.length,
    remainingMs: eventTimeLimitMs,
  };
}

/** The data is parsed when the first condition of the event looks at it, and only then. */
export function functionEventOf(stored: StoredEvent): FunctionEvent {
  let parsed: { data: unknown } | undefined;
  return {
    id: stored.id,
    name: stored.name,
    get data() {
      parsed ??= { data: stored.data === '' ? undefined : (JSON.parse(stored.data) as unknown) };
      return parsed.data;
    },
    ...(stored.version === undefined ? {} : { version: stored.version }),
    receivedAt: new Date(stored.receivedAtMs).toISOString(),
    correlationId: stored.correlationId,
  };
}

function failed(reason: string): Failed {
  return { kind: 'error', reason };
}

function conditionError(reason: string): Failed {
  return failed(`condition_error: ${reason}`);
}

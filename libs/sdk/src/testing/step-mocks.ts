/** What runs in place of a step's work, or answers what it waits for, by the name of the step. */
import type { RunStep } from '../replay/attempt.js';
import type { StepContext } from '../step-tools.js';

export interface StepMockContext extends StepContext {
  readonly stepId: string;
}

/**
 * A function that is called in place of the step's work, once an attempt; an Error that each attempt throws; or the value
 * that the step returns. Values go through JSON, and errors through the step's retries, as those of the work would.
 */
export type StepMock =
  ((context: StepMockContext) => unknown) | Error | object | string | number | boolean | null | undefined;

export class StepMocks {
  private readonly unused: Set<string>;

  constructor(private readonly mocks: Readonly<Record<string, StepMock>>) {
    this.unused = new Set(Object.keys(mocks));
  }

  /** Those that no step has asked for. */
  get unusedKeys(): string[] {
    return [...this.unused];
  }

  readonly workOf = (step: RunStep, stepId: string): RunStep['work'] =>
    this.find(step.name, stepId) ?? step.work;

  /** What a wait is answered with, if anything is given for it. */
  answerOf(name: string, stepId: string): (() => Promise<unknown>) | undefined {
    const work = this.find(name, stepId);
    const context = { attempt: 1, signal: new AbortController().signal };
    return work && (async () => work(context, stepId));
  }

  private find(name: string, stepId: string): RunStep['work'] | undefined {
    const key = keysOf(name, stepId).find((candidate) => Object.hasOwn(this.mocks, candidate));
    if (key === undefined) return undefined;
    this.unused.delete(key);
    const mock = this.mocks[key];
    if (typeof mock === 'function') {
      return (context) => (mock as (context: StepMockContext) => unknown)(Object.assign(context, { stepId }));
    }
    return () => {
      if (mock instanceof Error) throw mock;
      return mock;
    };
  }
}

/** The id first, then the name; an item of a map is also found by the name of the map. */
function keysOf(name: string, stepId: string): string[] {
  return [stepId, name, name.replace(/\[\d+\]$/, '')];
}

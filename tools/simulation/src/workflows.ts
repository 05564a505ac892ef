/** Functions of tenants, made by seed: what they do, what they are to come to whatever goes wrong, and the functions themselves. */
import fc from 'fast-check';
import { createFunction, NonRetryableError, StepError } from '@ironflow/sdk';
import type { HandlerContext, IronflowFunction } from '@ironflow/sdk';

export type Action =
  /** Fails as often, and then for good if it is `doomed`. */
  | { kind: 'run'; name: string; failures: number; doomed: boolean; workMs: number }
  | { kind: 'sleep'; name: string; durationMs: number }
  | { kind: 'event' | 'signal'; name: string; answered: boolean }
  | { kind: 'invoke'; name: string }
  | { kind: 'parallel'; branches: Action[][] };

/** Each action has a place in its program, such as `1` or `2-0-1`: what it returns or throws names it. */
export interface Program {
  actions: Action[];
  throwsOnFirstAttempts: number;
}

/** Of a step that ran, by what it came to. */
export function placeOf(outputOrMessage: string | undefined): string | undefined {
  return /(?:done|failing) (work|[\d-]+)/.exec(outputOrMessage ?? '')?.[1];
}

const names = fc.constantFrom('charge', 'ship', 'mail');
const leaf: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('run' as const),
      name: names,
      failures: fc.constantFrom(0, 0, 0, 1, 2),
      doomed: fc.constantFrom(false, false, false, true),
      workMs: fc.constantFrom(0, 0, 1, 40, 2_500),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('sleep' as const),
      name: fc.constant('rest'),
      durationMs: fc.constantFrom(0, 5, 700, 4_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('event' as const, 'signal' as const),
      name: fc.constantFrom('answer', 'approval'),
      answered: fc.constantFrom(true, true, false),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('invoke' as const), name: fc.constant('child') }) },
);
const parallel: fc.Arbitrary<Action> = fc.record({
  kind: fc.constant('parallel' as const),
  branches: fc.array(fc.array(leaf, { minLength: 1, maxLength: 2 }), { minLength: 2, maxLength: 3 }),
});
const program: fc.Arbitrary<Program> = fc.record({
  actions: fc.array(fc.oneof({ weight: 4, arbitrary: leaf }, { weight: 1, arbitrary: parallel }), {
    minLength: 1,
    maxLength: 5,
  }),
  throwsOnFirstAttempts: fc.constantFrom(0, 0, 0, 1, 2),
});

export function makePrograms(seed: number, count: number): Program[] {
  return fc.sample(program, { seed, numRuns: count });
}

/** What one run waits for from outside, by its key. */
export interface Question {
  kind: 'event' | 'signal';
  /** Of the event or the signal: one for each place. */
  name: string;
  place: string;
}

export const eventNameAt = (functionId: string, place: string): string => `${functionId}.at-${place}`;
export const answerAt = (place: string): string => `the answer to ${place}`;
const timeout = { answered: '6h', inVain: '2s' } as const;

export function questionsOf(functionId: string, { actions }: Program): Question[] {
  const walk = (list: Action[], path: string): Question[] =>
    list.flatMap((action, index): Question[] => {
      const place = `${path}${index}`;
      if (action.kind === 'parallel')
        return action.branches.flatMap((one, at) => walk(one, `${place}-${at}-`));
      const { kind } = action;
      if ((kind !== 'event' && kind !== 'signal') || !action.answered) return [];
      return [{ kind, place, name: eventNameAt(functionId, place) }];
    });
  return walk(actions, '');
}

/** What the function returns, if nothing ever goes wrong outside of it. */
export function expectedOutput({ actions }: Program): unknown {
  const walk = (list: Action[], path: string): unknown[] =>
    list.map((action, index) => {
      const place = `${path}${index}`;
      switch (action.kind) {
        case 'run':
          return action.doomed ? `failed at ${place}` : `done ${place}`;
        case 'sleep':
          return 'slept';
        case 'event':
        case 'signal':
          return action.answered ? answerAt(place) : null;
        case 'invoke':
          return `child of ${place}`;
        case 'parallel':
          return action.branches.map((one, at) => walk(one, `${place}-${at}-`));
      }
    });
  return walk(actions, '');
}

export interface ProgramObserver {
  /** The work of an attempt begins. */
  onBegin(place: string, attempt: number): void;
  onSlept(stepId: string): void;
}

/** More than faults can use up. */
const retries = { attempts: 100, initialDelayMs: 20, maxDelayMs: 1_000, factor: 2 } as const;

export function defineProgram(id: string, program: Program, observer: ProgramObserver): IronflowFunction {
  return createFunction({ id, triggers: [{ event: 'order.placed' }], retries }, async (context) => {
    const output = await perform(context, program.actions, '', { id, observer });
    if (context.run.attempt <= program.throwsOnFirstAttempts)
      throw new Error('the function throws outside of a step');
    return output;
  });
}

/** What is invoked. */
export function defineChild(id: string, observer: ProgramObserver): IronflowFunction {
  return createFunction({ id, triggers: [], retries }, async ({ step, event }) => {
    const { place } = event.data as { place: string };
    await step.run('work', ({ attempt }) => {
      observer.onBegin('work', attempt);
      return 'done work';
    });
    await step.sleep('rest', 300);
    return `child of ${place}`;
  });
}

type Context = HandlerContext<unknown>;
interface Place {
  id: string;
  observer: ProgramObserver;
}

async function perform(context: Context, actions: Action[], path: string, of: Place): Promise<unknown[]> {
  const output: unknown[] = [];
  for (const [index, action] of actions.entries()) {
    output.push(await performOne(context, action, `${path}${index}`, of));
  }
  return output;
}

async function performOne(context: Context, action: Action, place: string, of: Place): Promise<unknown> {
  const { step } = context;
  switch (action.kind) {
    case 'run':
      return performStep(context, action, place, of);
    case 'sleep':
      const name = `${action.name} ${place}`;
      await step.sleep(name, action.durationMs);
      of.observer.onSlept(name);
      return 'slept';
    case 'event': {
      const event = eventNameAt(of.id, place);
      const options = {
        event,
        match: 'data.key',
        timeout: action.answered ? timeout.answered : timeout.inVain,
      };
      const answer = await step.waitForEvent<{ answer: unknown }>(action.name, options);
      return answer === null ? null : answer.data.answer;
    }
    case 'signal': {
      const signal = eventNameAt(of.id, place);
      const options = { signal, timeout: action.answered ? timeout.answered : timeout.inVain };
      return step.waitForSignal(action.name, options);
    }
    case 'invoke':
      return step.invoke(action.name, { function: 'child', data: { place } });
    case 'parallel':
      return Promise.all(action.branches.map((one, at) => perform(context, one, `${place}-${at}-`, of)));
  }
}

async function performStep(
  { step }: Context,
  { name, failures, doomed, workMs }: Extract<Action, { kind: 'run' }>,
  place: string,
  { observer }: Place,
): Promise<unknown> {
  try {
    return await step.run(name, async ({ attempt }) => {
      observer.onBegin(place, attempt);
      if (workMs > 0) await new Promise((resolve) => setTimeout(resolve, workMs));
      if (attempt <= failures) throw new Error(`failing ${place}`);
      if (doomed) throw new NonRetryableError(`failing ${place}`);
      return `done ${place}`;
    });
  } catch (error) {
    if (error instanceof StepError) return `failed at ${place}`;
    throw error;
  }
}

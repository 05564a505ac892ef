/** What the functions of the load are made with: names, and steps that tell the ledger what happens to them. */
import { appendFileSync } from 'node:fs';
import { createLedger } from '@ironflow/bench';
import { createFunction } from '@ironflow/sdk';
import type {
  FunctionOptions,
  HandlerContext,
  IronflowFunction,
  StepContext,
  StepOptions,
  StepTools,
} from '@ironflow/sdk';
import { namesOf } from './case.js';
import type { EventData, Mode, Names } from './case.js';

export interface Work<T> extends StepOptions {
  /** What an attempt takes. */
  forMs: number;
  /** What it returns or throws. */
  result: (attempt: number) => T;
  /** Those of a branch; by default the handler's. */
  tools?: StepTools;
  /** Before the step's name in the ledger, where `tools` are a branch's. */
  prefix?: string;
}

/** Of one run: `context` of a handler with its notes. */
export interface Noted<Input> extends HandlerContext<EventData<Input>> {
  readonly input: Input;
  /** A step that notes when its attempts begin and end. */
  work: <T>(name: string, work: Work<T>) => Promise<unknown>;
  /** The inside of a step that is not made by `work`. */
  attempt: <T>(stepId: string, context: StepContext, work: Pick<Work<T>, 'forMs' | 'result'>) => Promise<T>;
  /** Notes when something that takes time is come to, and when it has passed. */
  passing: <T>(
    stepId: string,
    time: { forMs: number } | { untilMs: number },
    wait: () => Promise<T>,
    /** Whether it passed by its time alone. */
    inVain?: (result: T) => boolean,
  ) => Promise<T>;
}

export interface Kit extends Names {
  mode: Mode;
  /** A function that this case's event starts, unless the options say otherwise. */
  define<Input>(
    name: string,
    handler: (noted: Noted<Input>) => unknown,
    options?: Partial<FunctionOptions<EventData<Input>>>,
  ): IronflowFunction;
  /** Notes that a schedule fired. */
  noteFiring(run: string, scheduledAt: string, attempt: number): void;
  /** Gives a client the page on which it can decide. */
  sendLink(run: string, url: string): void;
}

/** No outage that is injected uses up a run's attempts: what fails for good has failed by the case's own wish. */
const patientRetries = { attempts: 100, initialDelayMs: 100, factor: 1.5, maxDelayMs: 1_000 };

/** Where the links of a run's approvals are sent to: one a line. */
export function linksFileOf(ledgerFile: string, runId: string): string {
  return `${ledgerFile}.${runId}.links`;
}

export function createKit(mode: Mode, ledgerFile: string, build?: string): Kit {
  const ledger = createLedger(ledgerFile);
  const note: typeof ledger = (line) => ledger({ ...line, ...(build === undefined ? {} : { build }) });
  const names = namesOf(mode);

  const noted = <Input>(context: HandlerContext<EventData<Input>>): Noted<Input> => {
    const { run } = context;
    const attempt: Noted<Input>['attempt'] = async (stepId, step, { forMs, result }) => {
      note({ what: 'begun', run: run.id, step: stepId, attempt: step.attempt });
      await pause(forMs, step.signal);
      const value = result(step.attempt);
      note({ what: 'ended', run: run.id, step: stepId, attempt: step.attempt });
      return value;
    };
    return {
      ...context,
      input: context.event.data.input,
      attempt,
      work: (name, { tools = context.step, prefix = '', forMs, result, ...options }) =>
        tools.run(name, (step) => attempt(prefix + name, step, { forMs, result }), options),
      passing: async (stepId, time, wait, inVain = () => true) => {
        note({ what: 'asked', run: run.id, step: stepId, attempt: 1, ...time });
        const result = await wait();
        if (inVain(result)) note({ what: 'passed', run: run.id, step: stepId, attempt: 1 });
        return result;
      },
    };
  };

  return {
    ...names,
    mode,
    define: (name, handler, options = {}) =>
      createFunction(
        {
          id: names.functionId(name),
          triggers: [{ event: names.event(name) }],
          retries: patientRetries,
          ...options,
        },
        (context) => handler(noted(context)),
      ),
    noteFiring: (run, scheduledAt, attempt) => note({ what: 'fired', run, step: scheduledAt, attempt }),
    sendLink: (run, url) => appendFileSync(linksFileOf(ledgerFile, run), `${url}\n`),
  };
}

/** Work heeds its signal, as it should. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(new Error('aborted'));
    });
  });
}

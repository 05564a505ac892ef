/** A run of which a test says which timers fire and where its process dies: for tests of the replay core. */
import type { EmittedEvent, Invocation, MemoizedStep, Outcome } from '@ironflow/schema';
import type { InvokeOptions } from '../client/client.js';
import { createFunction } from '../function.js';
import type { HandlerContext, IronflowFunction } from '../function.js';
import type { LogLine } from '../logger.js';
import type { ActivationOptions } from '../replay/activation.js';
import type { PlatformCalls } from '../replay/platform-calls.js';
import type { StartTimer } from '../timer.js';
import { activateStored, answerWait, createStoredRun, driveToEnd, endWait, purposeOf } from './stored-run.js';
import type { EndOutcome, StoredRun } from './stored-run.js';

export const runId = '0192f0c0-0000-7000-8000-000000000001';
export const invokedEventId = '0192f0c0-0000-7000-8000-00000000000e';
const eventId = '0192f0c0-0000-7000-8000-000000000000';

export interface MemoryRun extends StoredRun {
  lines: LogLine[];
  violations: string[];
  /** What its steps sent, as often as they did. */
  sent: EmittedEvent[];
  /** What its steps invoked, as often as they did. */
  invoked: { functionId: string; data: unknown; options: InvokeOptions | undefined }[];
  /** The approvals that its steps made links for, as often as they did. */
  asked: string[];
  /** What an invocation or a link is answered with. */
  refusal?: Error | undefined;
}
export const newRun = (): MemoryRun => ({
  ...createStoredRun(),
  lines: [],
  violations: [],
  sent: [],
  invoked: [],
  asked: [],
});

/** What a step waits for has come. */
export function answer(run: MemoryRun, stepId: string, output: unknown): void {
  answerWait(run, stepId, { output: JSON.stringify(output) });
}

/** A timer fires: of those that are set, the one that `choose` picks; it moves behind what ended before. */
export function fireTimer(run: MemoryRun, choose: (count: number) => number): boolean {
  const set = [...run.steps.values()].filter(
    ({ status, type }) =>
      (status === 'waiting' || status === 'retrying') &&
      (run.stopping === undefined || type === 'compensate'),
  );
  const step = set[choose(set.length)];
  if (step === undefined) return false;
  endWait(run, step.id);
  return true;
}

export interface Activate {
  run: MemoryRun;
  definition: IronflowFunction;
  mode?: 'push' | 'pull';
  /** Pull: the process dies once so many records were kept. */
  crashAfter?: number | undefined;
  data?: unknown;
  /** Default: time stands still, so nothing settles out of turn. */
  startTimer?: StartTimer;
  keeper?: ActivationOptions['keeper'];
}

export const standingStill: StartTimer = () => () => {};
const nothingAsked = () => Promise.reject(new Error('nothing is asked of the platform here'));
export const asksNothing: PlatformCalls = {
  emit: nothingAsked,
  invoke: nothingAsked,
  topics: { publish: nothingAsked },
  approvals: { createLink: nothingAsked },
  secrets: { get: nothingAsked },
  config: { get: nothingAsked },
};
/** Patience is over as soon as the event loop has come round. */
export const impatient: StartTimer = (delayMs, callback) => {
  const timer = delayMs < 1_000 ? setImmediate(callback) : undefined;
  return () => clearImmediate(timer);
};

export function activate(options: Activate): Promise<Outcome | 'crashed'> {
  const { run, definition, mode = 'pull', crashAfter } = options;
  return activateStored({
    run,
    definition,
    mode,
    crashAfter,
    invocation: invocationOf(run, options.data),
    now: () => 1_700_000_000_000,
    random: () => 0.5,
    startTimer: options.startTimer ?? standingStill,
    platform: platformOf(run),
    log: (line) => run.lines.push(line),
    ...(options.keeper === undefined ? {} : { keeper: options.keeper }),
  });
}

function platformOf(run: MemoryRun): PlatformCalls {
  return {
    topics: { publish: nothingAsked },
    secrets: { get: nothingAsked },
    config: { get: nothingAsked },
    emit: async (events) => {
      const sent = Array.isArray(events) ? (events as EmittedEvent[]) : [events as EmittedEvent];
      run.sent.push(...sent);
      return { ids: sent.map((_event, index) => `event-${index}`) };
    },
    invoke: async (target, ...[data, options]) => {
      if (run.refusal !== undefined) throw run.refusal;
      run.invoked.push({ functionId: typeof target === 'string' ? target : target.id, data, options });
      return { ids: [invokedEventId] };
    },
    approvals: {
      createLink: async (_runId, name) => {
        if (run.refusal !== undefined) throw run.refusal;
        run.asked.push(name);
        return { url: `https://ironflow.example/v1/approvals/ifa_${run.asked.length}` };
      },
    },
  };
}

export function invocationOf(memory: MemoryRun, data: unknown): Invocation {
  return {
    ...purposeOf(memory),
    run: { id: runId, functionId: 'under-test', attempt: memory.attempt },
    event: {
      id: eventId,
      name: 'order.placed',
      data: JSON.stringify(data ?? { order: 7 }),
      receivedAtMs: 1_700_000_000_000,
      correlationId: eventId,
    },
    memo: memoOf(memory),
    mismatch: memory.mismatch,
  };
}

/** Where a step has its place, the order of the list must not matter. */
function memoOf(memory: MemoryRun): MemoizedStep[] {
  const steps = structuredClone([...memory.steps.values()]);
  const placed = steps.filter(({ order }) => order !== undefined);
  return [...placed.reverse(), ...steps.filter(({ order }) => order === undefined)];
}

/** Activates until the run ends; no time passes but by the timers that fire. */
export function drive(options: Activate & { crashes?: number[]; choose?: (count: number) => number }) {
  const crashes = [...(options.crashes ?? [])];
  return driveToEnd(options.run, {
    activate: () => activate({ ...options, crashAfter: crashes.shift() ?? options.crashAfter }),
    pause: () => {},
    wake: () => fireTimer(options.run, options.choose ?? (() => 0)),
  });
}

export const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
export const define = (handler: (context: HandlerContext<unknown>) => unknown, retries?: number) =>
  createFunction({ id: 'under-test', triggers: [], ...(retries === undefined ? {} : { retries }) }, handler);
export const valueOf = (outcome: Outcome | EndOutcome | 'crashed'): unknown =>
  outcome !== 'crashed' && outcome.kind === 'completed' && outcome.output !== undefined
    ? JSON.parse(outcome.output)
    : outcome;

/** A run that is kept in memory, and what executor and Postgres do with it: for tests of the replay core. */
import { stepRecordSchema } from '@ironflow/schema';
import type { EmittedEvent, Invocation, MemoizedStep, Outcome, StepRecord } from '@ironflow/schema';
import type { InvokeOptions } from '../client/client.js';
import { createFunction } from '../function.js';
import type { HandlerContext, IronflowFunction } from '../function.js';
import type { LogLine } from '../logger.js';
import { startActivation } from '../replay/activation.js';
import type { PlatformCalls } from '../replay/platform-calls.js';
import type { StartTimer } from '../timer.js';

export const runId = '0192f0c0-0000-7000-8000-000000000001';
export const invokedEventId = '0192f0c0-0000-7000-8000-00000000000e';
const eventId = '0192f0c0-0000-7000-8000-000000000000';

export interface MemoryRun {
  steps: Map<string, MemoizedStep>;
  records: StepRecord[];
  lines: LogLine[];
  attempt: number;
  violations: string[];
  /** What its steps sent, as often as they did. */
  sent: EmittedEvent[];
  /** What its steps invoked, as often as they did. */
  invoked: { functionId: string; data: unknown; options: InvokeOptions | undefined }[];
  /** What an invocation is answered with. */
  refusal?: Error | undefined;
}
export const newRun = (): MemoryRun => ({
  steps: new Map(),
  records: [],
  lines: [],
  attempt: 1,
  violations: [],
  sent: [],
  invoked: [],
});

/** What the executor and Postgres do with records. */
function keep(run: MemoryRun, records: StepRecord[]): void {
  for (const record of records) {
    stepRecordSchema.parse(record);
    run.records.push(record);
    const { id, type, attempt, status } = record;
    const order = 'order' in record && record.order !== undefined ? { order: record.order } : {};
    const output = 'output' in record && record.output !== undefined ? { output: record.output } : {};
    const error = 'error' in record ? { error: record.error } : {};
    run.steps.set(id, { id, type, attempt, status, ...order, ...output, ...error });
  }
}

/** What a step waits for has come. */
export function answer(run: MemoryRun, stepId: string, output: unknown): void {
  const step = run.steps.get(stepId)!;
  run.steps.delete(stepId);
  run.steps.set(stepId, { ...step, status: 'completed', output: JSON.stringify(output) });
}

/** A timer fires: of those that are set, the one that `choose` picks; it moves behind what ended before. */
export function fireTimer(run: MemoryRun, choose: (count: number) => number): boolean {
  const set = [...run.steps.values()].filter(({ status }) => status === 'waiting' || status === 'retrying');
  const step = set[choose(set.length)];
  if (step === undefined) return false;
  run.steps.delete(step.id);
  run.steps.set(step.id, { ...step, status: step.status === 'waiting' ? 'completed' : 'errored' });
  return true;
}

export interface Activate {
  run: MemoryRun;
  definition: IronflowFunction;
  mode?: 'push' | 'pull';
  /** Pull: the process dies once so many records were kept. */
  crashAfter?: number;
  data?: unknown;
  /** Default: time stands still, so nothing settles out of turn. */
  startTimer?: StartTimer;
}

export const standingStill: StartTimer = () => () => {};
const nothingAsked = () => Promise.reject(new Error('nothing is asked of the platform here'));
export const asksNothing: PlatformCalls = { emit: nothingAsked, invoke: nothingAsked };
/** Patience is over as soon as the event loop has come round. */
export const impatient: StartTimer = (delayMs, callback) => {
  const timer = delayMs < 1_000 ? setImmediate(callback) : undefined;
  return () => clearImmediate(timer);
};

export async function activate(options: Activate): Promise<Outcome | 'crashed'> {
  const { run, definition, mode = 'pull', crashAfter = Number.POSITIVE_INFINITY } = options;
  let kept = 0;
  let queue = Promise.resolve();
  const recorder = {
    record(records: StepRecord[]) {
      queue = queue.then(async () => {
        await turn();
        if (kept >= crashAfter) return new Promise<void>(() => {});
        keep(run, records);
        kept += records.length;
        if (kept >= crashAfter) {
          activation.abort(new Error('the process died'));
          return new Promise<void>(() => {});
        }
      });
      return queue;
    },
  };
  const activation = startActivation({
    definition,
    invocation: invocationOf(run, options.data),
    ...(mode === 'pull' ? { recorder } : {}),
    now: () => 1_700_000_000_000,
    random: () => 0.5,
    startTimer: options.startTimer ?? standingStill,
    platform: platformOf(run),
    log: (line) => run.lines.push(line),
  });
  const result = await activation.result;
  if (result.kind === 'aborted') return 'crashed';
  keep(run, result.records);
  return result.outcome;
}

function platformOf(run: MemoryRun): PlatformCalls {
  return {
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
  };
}

export function invocationOf(memory: MemoryRun, data: unknown): Invocation {
  return {
    v: 1,
    run: { id: runId, functionId: 'under-test', attempt: memory.attempt },
    event: {
      id: eventId,
      name: 'order.placed',
      data: JSON.stringify(data ?? { order: 7 }),
      receivedAtMs: 1_700_000_000_000,
      correlationId: eventId,
    },
    memo: memoOf(memory),
  };
}

/** Where a step has its place, the order of the list must not matter. */
function memoOf(memory: MemoryRun): MemoizedStep[] {
  const steps = structuredClone([...memory.steps.values()]);
  const placed = steps.filter(({ order }) => order !== undefined);
  return [...placed.reverse(), ...steps.filter(({ order }) => order === undefined)];
}

/** Activates until the run ends, as scheduler and executor would. */
export async function drive(options: Activate & { crashes?: number[]; choose?: (count: number) => number }) {
  const crashes = [...(options.crashes ?? [])];
  for (let activations = 1; activations < 500; activations += 1) {
    const crashAfter = crashes.shift();
    const outcome = await activate({ ...options, ...(crashAfter === undefined ? {} : { crashAfter }) });
    if (outcome === 'crashed' || outcome.kind === 'continue') continue;
    if (outcome.kind === 'completed') return outcome;
    if (outcome.kind === 'threw' && outcome.retryInMs === undefined) return outcome;
    if (outcome.kind === 'threw') run(options).attempt += 1;
    else if (!fireTimer(options.run, options.choose ?? (() => 0))) throw new Error('yielded without a timer');
  }
  throw new Error('the run does not end');
}
const run = (options: { run: MemoryRun }) => options.run;

export const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
export const define = (handler: (context: HandlerContext<unknown>) => unknown, retries?: number) =>
  createFunction({ id: 'under-test', triggers: [], ...(retries === undefined ? {} : { retries }) }, handler);
export const valueOf = (outcome: Outcome | 'crashed'): unknown =>
  outcome !== 'crashed' && outcome.kind === 'completed' && outcome.output !== undefined
    ? JSON.parse(outcome.output)
    : outcome;

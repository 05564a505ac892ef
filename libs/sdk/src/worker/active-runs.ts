/**
 * The runs that one connection has given to this worker. A run is held under the lease it came with (its writer):
 * whatever names another lease is not for it. When the connection is lost, all of them are aborted and send nothing more.
 */
import { TurnoverMap } from '@ironflow/collections';
import { compareWriters } from '@ironflow/schema';
import type { ExecutorMessage, StepRecord, WorkerMessage, Writer } from '@ironflow/schema';
import type { IronflowFunction } from '../function.js';
import type { Log } from '../logger.js';
import { startActivation } from '../replay/activation.js';
import type { Activation } from '../replay/activation.js';
import type { PlatformCalls } from '../replay/platform-calls.js';
import { startTimer } from '../timer.js';
import type { DeclineReason, UndrivableActivation } from './executor-messages.js';
import { createLineSender } from './line-sender.js';
import type { LineSender } from './line-sender.js';

type LeaseMessage = Extract<ExecutorMessage, { type: 'recorded' | 'abort' }>;
type ActivateMessage = Extract<ExecutorMessage, { type: 'activate' }>;

export interface ActiveRuns {
  activate(message: ActivateMessage): void;
  /** Hands a run back, at no cost to it: another worker, or a later version of this one, may be able to drive it. */
  decline(activation: Omit<UndrivableActivation, 'type'>): void;
  recorded(message: Extract<ExecutorMessage, { type: 'recorded' }>): void;
  abort(message: Extract<ExecutorMessage, { type: 'abort' }>): void;
  /** How many there were. */
  abortAll(reason: string): number;
  readonly size: number;
  /** Resolves when there is none. */
  empty(): Promise<void>;
}

interface ActiveRun {
  writer: Writer;
  activation: Activation;
  lines: LineSender;
  /** Records on their way, by sequence. */
  awaited: Map<number, () => void>;
}

export function createActiveRuns(options: {
  definitions: ReadonlyMap<string, IronflowFunction>;
  send: (message: WorkerMessage) => void;
  platform: PlatformCalls;
  log: Log;
}): ActiveRuns {
  const { definitions, send, platform, log } = options;
  const runs = new TurnoverMap<string, ActiveRun>();
  /** Aborted, and at work still, by lease. */
  const stopped = new TurnoverMap<string, Activation>();
  let waiting: (() => void)[] = [];
  const remove = (runId: string, run: ActiveRun) => {
    if (runs.get(runId) === run) runs.delete(runId);
    if (runs.size > 0) return;
    for (const resolve of waiting) resolve();
    waiting = [];
  };
  const held = ({ runId, writer }: LeaseMessage): ActiveRun | undefined => {
    const run = runs.get(runId);
    return run !== undefined && sameWriter(run.writer, writer) ? run : undefined;
  };
  const stop = (runId: string, run: ActiveRun, reason: string) => {
    const { activation, writer } = run;
    const lease = leaseOf({ runId, writer });
    stopped.set(lease, activation);
    remove(runId, run);
    activation.abort(new Error(reason));
    void activation.atRest().then(() => stopped.delete(lease));
  };
  const begin = (message: ActivateMessage, definition: IronflowFunction) => {
    const { writer } = message;
    const runId = message.invocation.run.id;
    const run = startRun({ message, definition, send, platform, log });
    runs.set(runId, run);
    void run.activation.result.then((result) => {
      run.lines.flush();
      if (result.kind === 'ended')
        send({ type: 'end', runId, writer, records: result.records, outcome: result.outcome });
      remove(runId, run);
    });
  };
  /** False for an activation that is older than the one that is held, or the same again. */
  const takeOver = (runId: string, writer: Writer): boolean => {
    const present = runs.get(runId);
    if (present === undefined) return true;
    if (compareWriters(writer, present.writer) <= 0) return false;
    stop(runId, present, 'the run was activated again');
    return true;
  };
  const decline = (runId: string, writer: Writer, reason: DeclineReason) =>
    send({ type: 'end', runId, writer, records: [], outcome: { kind: 'declined', reason } });
  return {
    activate(message) {
      const { writer, invocation } = message;
      if (!takeOver(invocation.run.id, writer)) return;
      // An app may be deployed in part: another worker, or this one later, may know the function.
      const definition = definitions.get(invocation.run.functionId);
      if (definition === undefined) decline(invocation.run.id, writer, 'function_not_found');
      else begin(message, definition);
    },
    decline({ runId, writer, reason }) {
      if (takeOver(runId, writer)) decline(runId, writer, reason);
    },
    recorded(message) {
      const awaited = held(message)?.awaited;
      const resolve = awaited?.get(message.sequence);
      if (resolve !== undefined && awaited!.delete(message.sequence)) resolve();
    },
    abort(message) {
      const { runId, writer } = message;
      const run = held(message);
      if (run !== undefined) stop(runId, run, message.reason);
      // It may be told again: then of one that was stopped before.
      const atRest = stopped.get(leaseOf(message))?.atRest() ?? Promise.resolve();
      void atRest.then(() => send({ type: 'aborted', runId, writer }));
    },
    abortAll(reason) {
      const all = [...runs];
      for (const [runId, run] of all) stop(runId, run, reason);
      return all.length;
    },
    get size() {
      return runs.size;
    },
    empty: () => (runs.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
  };
}

function startRun(of: {
  message: ActivateMessage;
  definition: IronflowFunction;
  send: (message: WorkerMessage) => void;
  platform: PlatformCalls;
  log: Log;
}): ActiveRun {
  const { definition, send, platform, log } = of;
  const { writer, invocation } = of.message;
  const awaited = new Map<number, () => void>();
  const lease = { runId: invocation.run.id, writer, send };
  const lines = createLineSender(lease);
  const recorder = createRecorder({ ...lease, lines, awaited });
  const now = Date.now;
  const random = Math.random;
  const activation = startActivation({
    definition,
    invocation,
    recorder,
    now,
    random,
    startTimer,
    platform,
    log,
    keeper: lines,
  });
  return { writer, activation, lines, awaited };
}

function createRecorder(of: {
  runId: string;
  writer: Writer;
  send: (message: WorkerMessage) => void;
  lines: LineSender;
  awaited: Map<number, () => void>;
}) {
  let sequence = 0;
  return {
    record: (records: StepRecord[]) =>
      new Promise<void>((resolve) => {
        of.lines.flush();
        of.awaited.set(sequence, resolve);
        of.send({ type: 'record', runId: of.runId, writer: of.writer, sequence: sequence++, records });
      }),
  };
}

function leaseOf({ runId, writer }: { runId: string; writer: Writer }): string {
  return `${runId} ${writer.activation} ${writer.delivery} ${writer.executor}`;
}

function sameWriter(a: Writer, b: Writer): boolean {
  return a.activation === b.activation && a.delivery === b.delivery && a.executor === b.executor;
}

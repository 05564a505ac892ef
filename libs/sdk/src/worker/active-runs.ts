/**
 * The runs that one connection has given to this worker. A run is held under the lease it came with (its writer):
 * whatever names another lease is not for it. When the connection is lost, all of them are aborted and send nothing more.
 */
import { compareWriters, protocolVersion } from '@ironflow/schema';
import type { ExecutorMessage, Failure, Outcome, StepRecord, WorkerMessage, Writer } from '@ironflow/schema';
import { decideRetry, defaultRetryPolicy } from '@ironflow/retry-policy';
import type { IronflowFunction } from '../function.js';
import type { Log } from '../logger.js';
import { startActivation } from '../replay/activation.js';
import type { Activation } from '../replay/activation.js';

type LeaseMessage = Extract<ExecutorMessage, { type: 'recorded' | 'abort' }>;
type ActivateMessage = Extract<ExecutorMessage, { type: 'activate' }>;

export interface ActiveRuns {
  activate(message: ActivateMessage): void;
  recorded(message: Extract<ExecutorMessage, { type: 'recorded' }>): void;
  abort(message: Extract<ExecutorMessage, { type: 'abort' }>): void;
  abortAll(reason: string): void;
  readonly size: number;
  /** Resolves when there is none. */
  empty(): Promise<void>;
}

interface ActiveRun {
  writer: Writer;
  activation: Activation;
  /** Records on their way, by sequence. */
  awaited: Map<number, () => void>;
}

export function createActiveRuns(options: {
  definitions: ReadonlyMap<string, IronflowFunction>;
  send: (message: WorkerMessage) => void;
  log: Log;
}): ActiveRuns {
  const { definitions, send, log } = options;
  const runs = new Map<string, ActiveRun>();
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
    remove(runId, run);
    run.activation.abort(new Error(reason));
  };
  const begin = ({ writer, invocation }: ActivateMessage, definition: IronflowFunction) => {
    const runId = invocation.run.id;
    const awaited = new Map<number, () => void>();
    const recorder = createRecorder({ runId, writer, send, awaited });
    const activation = startActivation({
      definition,
      invocation,
      recorder,
      now: Date.now,
      random: Math.random,
      log,
    });
    const run = { writer, activation, awaited };
    runs.set(runId, run);
    void activation.result.then((result) => {
      if (result.kind === 'ended')
        send({ type: 'end', runId, writer, records: result.records, outcome: result.outcome });
      remove(runId, run);
    });
  };
  return {
    activate(message) {
      const { writer, invocation } = message;
      const present = runs.get(invocation.run.id);
      if (present !== undefined && compareWriters(writer, present.writer) <= 0) return;
      if (present !== undefined) stop(invocation.run.id, present, 'the run was activated again');
      const definition = definitions.get(invocation.run.functionId);
      const outcome = refusalOf(message, definition);
      if (outcome !== undefined)
        send({ type: 'end', runId: invocation.run.id, writer, records: [], outcome });
      else begin(message, definition!);
    },
    recorded(message) {
      const awaited = held(message)?.awaited;
      const resolve = awaited?.get(message.sequence);
      if (resolve !== undefined && awaited!.delete(message.sequence)) resolve();
    },
    abort(message) {
      const run = held(message);
      if (run !== undefined) stop(message.runId, run, message.reason);
    },
    abortAll(reason) {
      for (const [runId, run] of [...runs]) stop(runId, run, reason);
    },
    get size() {
      return runs.size;
    },
    empty: () => (runs.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
  };
}

function createRecorder(of: {
  runId: string;
  writer: Writer;
  send: (message: WorkerMessage) => void;
  awaited: Map<number, () => void>;
}) {
  let sequence = 0;
  return {
    record: (records: StepRecord[]) =>
      new Promise<void>((resolve) => {
        of.awaited.set(sequence, resolve);
        of.send({ type: 'record', runId: of.runId, writer: of.writer, sequence: sequence++, records });
      }),
  };
}

/** An app may be deployed in part: another worker, or this one later, may know the function. */
function refusalOf(message: ActivateMessage, definition: IronflowFunction | undefined): Outcome | undefined {
  const { v, run } = message.invocation;
  if (v === protocolVersion && definition !== undefined) return undefined;
  const error: Failure =
    definition === undefined
      ? { name: 'function_not_found', message: 'the worker has no function of that id' }
      : { name: 'protocol_version_unsupported', message: `the worker speaks version ${protocolVersion}` };
  const retry = decideRetry(defaultRetryPolicy, { attempt: run.attempt, retryable: true }, Math.random());
  return retry.retry ? { kind: 'threw', error, retryInMs: retry.delayMs } : { kind: 'threw', error };
}

function sameWriter(a: Writer, b: Writer): boolean {
  return a.activation === b.activation && a.delivery === b.delivery && a.executor === b.executor;
}

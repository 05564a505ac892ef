/** Drives pull runs on one connected worker: hands out activations, makes records durable, answers, and lets go when it is lost. */
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import type { CallOutcome, Outcome, StepRecord, WorkerMessage, Writer } from '@ironflow/schema';
import { toInvocation } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import type { WriteResult } from './journal-writer.js';
import type { Settlement } from './settlement.js';
import type { WorkerSocket } from './worker-socket.js';

/** The name that every worker has for the circuit breaker: they are as alike as the replicas behind one URL. */
export const workerEndpoint = 'worker';

export interface WorkerConnectionOptions {
  socket: WorkerSocket;
  slots: number;
  settlement: Settlement;
  metrics: ExecutorMetrics;
  /** A slot has become free, or none will be any more. */
  onChange: () => void;
}

export interface WorkerConnection {
  freeSlots(): number;
  activeRuns(): number;
  drive(
    run: ActiveRun,
    call: { policy: RetryPolicy | undefined; probe: boolean },
  ): Promise<'over' | 'restart'>;
  receive(message: Extract<WorkerMessage, { type: 'record' | 'end' | 'drain' }>): void;
  /** The socket is gone: everything it had is let go at once, to be called again. */
  lost(): void;
  /** This executor goes: what is still active is handed back to another. */
  handBack(): void;
}

interface Driven {
  run: ActiveRun;
  policy: RetryPolicy;
  call: Omit<CallOutcome, 'succeeded'>;
  settle: (how: 'over' | 'restart') => void;
}

export function createWorkerConnection(options: WorkerConnectionOptions): WorkerConnection {
  const { socket, settlement, metrics } = options;
  const active = new Map<string, Driven>();
  let draining = false;

  const release = (driven: Driven, how: 'over' | 'restart'): void => {
    if (active.get(driven.run.runId) === driven) active.delete(driven.run.runId);
    driven.settle(how);
    options.onChange();
  };
  const abort = (runId: string, writer: Writer, reason: string): void =>
    socket.send({ type: 'abort', runId, writer, reason });
  const conclude = (driven: Driven, written: WriteResult): void => {
    if (written === 'appended') return;
    abort(
      driven.run.runId,
      driven.run.writer,
      written === 'lost' ? 'the lease is lost' : 'the run has moved on',
    );
    release(driven, written === 'restart' ? 'restart' : 'over');
  };
  const record = async (driven: Driven, sequence: number, records: StepRecord[]): Promise<void> => {
    const { run } = driven;
    const written = await settlement.record(run, records);
    if (written === 'appended')
      socket.send({ type: 'recorded', runId: run.runId, writer: run.writer, sequence });
    conclude(driven, written);
  };
  const end = async (driven: Driven, records: StepRecord[], outcome: Outcome): Promise<void> => {
    const { run } = driven;
    metrics.calls.add(1, { mode: 'pull', result: 'answered' });
    // The worker is done with it and has the slot free; the run stays ours until its end is durable.
    active.delete(run.runId);
    options.onChange();
    const ending = outcome.kind === 'continue' ? { kind: 'yielded' as const } : outcome;
    const written = await settlement.end(run, records, ending, { ...driven.call, succeeded: true });
    driven.settle(written === 'restart' ? 'restart' : 'over');
  };
  const find = (runId: string, writer: Writer): Driven | undefined => {
    const driven = active.get(runId);
    const mine = driven?.run.writer;
    const isMine =
      mine?.activation === writer.activation &&
      mine.delivery === writer.delivery &&
      mine.executor === writer.executor;
    return isMine ? driven : undefined;
  };
  return {
    freeSlots: () => (draining ? 0 : Math.max(0, options.slots - active.size)),
    activeRuns: () => active.size,
    drive: (run, call) =>
      new Promise((settle) => {
        const driven: Driven = {
          run,
          policy: call.policy ?? defaultRetryPolicy,
          call: { endpoint: workerEndpoint, ...(call.probe ? { probe: true } : {}) },
          settle,
        };
        active.set(run.runId, driven);
        run.lease.onLost((reason) => {
          metrics.leasesLost.add(1);
          abort(run.runId, run.writer, reason);
          release(driven, 'over');
        });
        socket.send({ type: 'activate', writer: run.writer, invocation: toInvocation(run) });
      }),
    receive: (message) => {
      if (message.type === 'drain') {
        draining = true;
        options.onChange();
        return;
      }
      const driven = find(message.runId, message.writer);
      if (driven === undefined) {
        if (message.type === 'record') abort(message.runId, message.writer, 'the lease is over');
      } else if (message.type === 'record') {
        void record(driven, message.sequence, message.records);
      } else {
        void end(driven, message.records, message.outcome);
      }
    },
    lost: () => {
      draining = true;
      // For a circuit breaker a lost worker is one failed call of each function, not one of each run.
      const told = new Set<string>();
      for (const driven of [...active.values()]) {
        const { functionId } = driven.run;
        metrics.calls.add(1, { mode: 'pull', result: 'lost' });
        active.delete(driven.run.runId);
        const error = { name: 'worker_lost', message: 'the worker was lost in the middle of the run' };
        const call = told.has(functionId) ? undefined : { ...driven.call, succeeded: false };
        told.add(functionId);
        void settlement
          .endFailedCall(driven.run, { error, retryAtOnce: true }, call, driven.policy)
          .then((written) => driven.settle(written === 'restart' ? 'restart' : 'over'));
      }
      options.onChange();
    },
    handBack: () => {
      draining = true;
      for (const driven of [...active.values()]) {
        driven.run.lease.handBack();
        release(driven, 'over');
      }
    },
  };
}

/** Drives pull runs on one connected worker: hands out activations, makes records durable, answers, and lets go when it is lost. */
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import type { CallOutcome, Outcome, StepRecord, WorkerMessage, Writer } from '@ironflow/schema';
import { toInvocation } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import type { Settled, Settlement } from './settlement.js';
import type { WorkerSocket } from './worker-socket.js';

/** The name that every worker has for the circuit breaker: they are as alike as the replicas behind one URL. */
export const workerEndpoint = 'worker';

export interface WorkerConnectionOptions {
  socket: Pick<WorkerSocket, 'send'>;
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
  /** Resolves when what the message holds is durable or dropped. */
  receive(message: Extract<WorkerMessage, { type: 'record' | 'end' | 'drain' }>): Promise<void>;
  /** Takes nothing new; what it has goes on. */
  drain(): void;
  /** The socket is gone: everything it had is let go at once, to be called again. */
  lost(): void;
}

export function createWorkerConnection(options: WorkerConnectionOptions): WorkerConnection {
  return new SocketWorkerConnection(options);
}

interface Driven {
  run: ActiveRun;
  policy: RetryPolicy;
  call: Omit<CallOutcome, 'succeeded'>;
  conclude: (how: 'over' | 'restart') => void;
}

class SocketWorkerConnection implements WorkerConnection {
  private readonly active = new Map<string, Driven>();
  /** Over for the worker, and their end is not durable yet. */
  private ending = 0;
  private draining = false;

  constructor(private readonly options: WorkerConnectionOptions) {}

  /** An end that waits for its journal leaves its slot free, but only as many as there are slots: full means back-pressure. */
  freeSlots(): number {
    if (this.draining) return 0;
    const { slots } = this.options;
    return Math.max(0, slots - this.active.size - Math.max(0, this.ending - slots));
  }

  activeRuns(): number {
    return this.active.size;
  }

  drive(
    run: ActiveRun,
    { policy = defaultRetryPolicy, probe }: { policy: RetryPolicy | undefined; probe: boolean },
  ): Promise<'over' | 'restart'> {
    if (!run.lease.isHeld()) return Promise.resolve('over');
    // Delivered again before its first delivery was found lost here: that one is nobody's any more.
    this.active.get(run.runId)?.run.lease.abandon('activated again');
    return new Promise((conclude) => {
      const call = { endpoint: workerEndpoint, ...(probe ? { probe } : {}) };
      const driven: Driven = { run, policy, call, conclude };
      this.active.set(run.runId, driven);
      run.lease.onLost((reason) => {
        this.options.metrics.leasesLost.add(1);
        this.abort(run, reason);
        this.release(driven, 'over');
      });
      this.options.socket.send({ type: 'activate', writer: run.writer, invocation: toInvocation(run) });
    });
  }

  async receive(message: Extract<WorkerMessage, { type: 'record' | 'end' | 'drain' }>): Promise<void> {
    if (message.type === 'drain') return this.drain();
    const driven = this.find(message.runId, message.writer);
    if (driven !== undefined) {
      if (message.type === 'record') await this.record(driven, message.sequence, message.records);
      else await this.end(driven, message.records, message.outcome);
    } else if (message.type === 'record') {
      this.abort(message, 'the lease is over');
    }
  }

  drain(): void {
    this.draining = true;
    this.options.onChange();
  }

  lost(): void {
    this.draining = true;
    // For a circuit breaker a lost worker is one failed call of each function, not one of each run.
    const told = new Set<string>();
    for (const driven of [...this.active.values()]) {
      const { functionId, runId } = driven.run;
      this.options.metrics.calls.add(1, { mode: 'pull', result: 'lost' });
      this.active.delete(runId);
      const error = { name: 'worker_lost', message: 'the worker was lost in the middle of the run' };
      const call = told.has(functionId) ? undefined : { ...driven.call, succeeded: false };
      told.add(functionId);
      const failure = { error, retryAtOnce: true };
      void this.conclude(
        driven,
        this.options.settlement.endFailedCall(driven.run, failure, call, driven.policy),
      );
    }
    this.options.onChange();
  }

  private async record(driven: Driven, sequence: number, records: StepRecord[]): Promise<void> {
    const { run } = driven;
    const settled = await this.options.settlement.record(run, records);
    if (settled === 'settled') {
      this.options.socket.send({ type: 'recorded', runId: run.runId, writer: run.writer, sequence });
      return;
    }
    this.abort(run, settled === 'restart' ? 'the run has moved on' : 'the lease is over');
    this.release(driven, settled);
  }

  /** The worker is done with it and has the slot free; the run stays ours until its end is durable. */
  private async end(driven: Driven, records: StepRecord[], outcome: Outcome): Promise<void> {
    const { run, call, policy } = driven;
    const { settlement, metrics, onChange } = this.options;
    this.active.delete(run.runId);
    this.ending += 1;
    onChange();
    if (outcome.kind === 'continue') {
      metrics.calls.add(1, { mode: 'pull', result: 'failed' });
      const error = { name: 'bad_answer', message: 'a worker goes on by itself: it cannot ask to be called' };
      const failed = { ...call, succeeded: false };
      await this.conclude(driven, settlement.endFailedCall(run, { error }, failed, policy));
    } else {
      metrics.calls.add(1, { mode: 'pull', result: 'answered' });
      await this.conclude(driven, settlement.end(run, records, outcome, { ...call, succeeded: true }));
    }
    this.ending -= 1;
    if (this.ending >= this.options.slots) onChange();
  }

  private async conclude(driven: Driven, settled: Promise<Settled>): Promise<void> {
    driven.conclude((await settled) === 'restart' ? 'restart' : 'over');
  }

  private release(driven: Driven, how: 'over' | 'restart'): void {
    if (this.active.get(driven.run.runId) === driven) this.active.delete(driven.run.runId);
    driven.conclude(how);
    this.options.onChange();
  }

  private abort({ runId, writer }: { runId: string; writer: Writer }, reason: string): void {
    this.options.socket.send({ type: 'abort', runId, writer, reason });
  }

  private find(runId: string, writer: Writer): Driven | undefined {
    const driven = this.active.get(runId);
    const mine = driven?.run.writer;
    const isMine =
      mine?.activation === writer.activation &&
      mine.delivery === writer.delivery &&
      mine.executor === writer.executor;
    return isMine ? driven : undefined;
  }
}

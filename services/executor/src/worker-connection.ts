/** Drives pull runs on one connected worker: hands out activations, makes records durable, answers, and lets go when it is lost. */
import { setTimeout as delay } from 'node:timers/promises';
import { TurnoverMap } from '@ironflow/collections';
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import type { CallOutcome, Failure, Outcome, StepRecord, WorkerMessage, Writer } from '@ironflow/schema';
import { toInvocation } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import { concluded } from './call-admission.js';
import type { Driven } from './call-admission.js';
import { badAnswer, misfitOf } from './outcome.js';
import type { RunLogs } from './run-logs.js';
import type { Settled, Settlement } from './settlement.js';
import type { MalformedMessage, WorkerSocket } from './worker-socket.js';

export interface WorkerConnectionOptions {
  socket: Pick<WorkerSocket, 'send' | 'isCongested'>;
  slots: number;
  build: WorkerBuild;
  settlement: Settlement;
  logs: Pick<RunLogs, 'add'>;
  metrics: ExecutorMetrics;
  /** A slot has become free, or there are none any more. */
  onChange: () => void;
}

/** Of a worker's code, as its hello says. */
export interface WorkerBuild {
  buildId?: string | undefined;
  pinRuns?: boolean | undefined;
}

/** What a connected worker says after its hello. */
export type RunMessage =
  Extract<WorkerMessage, { type: 'record' | 'log' | 'end' | 'aborted' | 'drain' }> | MalformedMessage;

export interface WorkerConnection {
  readonly buildId: string | undefined;
  /** Runs that it takes at once; none when it drains. */
  slots(): number;
  /** Those that have no run, as long as the worker reads what it is sent. */
  freeSlots(): number;
  activeRuns(): number;
  drive(run: ActiveRun, call: WorkerCall): Promise<Driven>;
  /** Resolves when what the message holds is durable or dropped. */
  receive(message: RunMessage): Promise<void>;
  /** Takes nothing new; what it has goes on. */
  drain(): void;
  /**
   * The socket is gone: everything it had is let go at once, to be called again. Of one that drained, that was to be
   * expected: no attempt is used, and the circuit breaker is told nothing.
   */
  lost(): void;
}

export interface WorkerCall {
  policy: RetryPolicy | undefined;
  /** What is reported of it to the circuit breaker, beside how it went. */
  report: Omit<CallOutcome, 'succeeded'>;
}

export function createWorkerConnection(options: WorkerConnectionOptions): WorkerConnection {
  return new SocketWorkerConnection(options);
}

/** A run that the worker has. */
interface GivenRun {
  run: ActiveRun;
  policy: RetryPolicy;
  call: Omit<CallOutcome, 'succeeded'>;
  conclude: (how: Driven) => void;
}

/** Another worker or a later version may drive what this one declined. */
const declinedDelayMs = 5_000;
/** For how long steps that were aborted are waited for before they are undone; a worker of an older version says nothing. */
const abortedWithinMs = 60_000;
/** A function that heeds its signal is at rest by then; the slots of one that does not are kept for longer. */
const heededWithinMs = 2_000;

class SocketWorkerConnection implements WorkerConnection {
  private readonly active = new TurnoverMap<string, GivenRun>();
  /** Told to abort before their runs are undone, by lease. */
  private readonly aborting = new Map<string, { run: ActiveRun; isOver: () => void }>();
  /** Over for the worker, and their end is not durable yet. */
  private ending = 0;
  private draining = false;

  readonly buildId: string | undefined;

  constructor(private readonly options: WorkerConnectionOptions) {
    this.buildId = options.build.buildId;
  }

  slots(): number {
    return this.draining ? 0 : this.options.slots;
  }

  /** An end that waits for its journal leaves its slot free, but only as many as there are slots: full means back-pressure. */
  freeSlots(): number {
    if (this.options.socket.isCongested()) return 0;
    return Math.max(0, this.slots() - this.active.size - Math.max(0, this.ending - this.options.slots));
  }

  activeRuns(): number {
    return this.active.size;
  }

  drive(run: ActiveRun, { policy = defaultRetryPolicy, report }: WorkerCall): Promise<Driven> {
    if (!run.lease.isHeld()) return Promise.resolve('over');
    // Delivered again before its first delivery was found lost here: that one is nobody's any more.
    this.active.get(run.runId)?.run.lease.abandon('activated again');
    return new Promise((conclude) => {
      const given: GivenRun = { run, policy, call: report, conclude };
      this.active.set(run.runId, given);
      run.lease.onLost((reason) => {
        this.abort(run, reason);
        this.release(given, 'over');
      });
      this.options.socket.send({ type: 'activate', writer: run.writer, invocation: toInvocation(run) });
      if (run.stopping === undefined) run.stop.onRequested(() => this.stop(given));
    });
  }

  async receive(message: RunMessage): Promise<void> {
    if (message.type === 'drain') {
      this.drain();
      // Behind everything that was activated before: nothing comes after it.
      this.options.socket.send({ type: 'drained' });
      return;
    }
    if (message.type === 'aborted') {
      this.aborting.get(leaseOf(message))?.isOver();
      return;
    }
    if (message.type === 'log') {
      // Also of a run that was told to abort: what it wrote last says what it was at.
      const run = this.find(message.runId, message.writer)?.run ?? this.aborting.get(leaseOf(message))?.run;
      if (run !== undefined) this.options.logs.add(run, 0, message.lines);
      return;
    }
    const given = this.find(message.runId, message.writer);
    if (given === undefined) {
      if (message.type !== 'end' && !this.aborting.has(leaseOf(message)))
        this.abort(message, 'the lease is over');
      return;
    }
    switch (message.type) {
      case 'record':
        return this.record(given, message.sequence, message.records);
      case 'end':
        return this.end(given, this.settle(given, message.records, message.outcome));
      case 'malformed':
        this.abort(message, 'a message of this run breaks the protocol');
        return this.end(given, this.refuse(given, badAnswer('a message of the worker breaks the protocol')));
    }
  }

  drain(): void {
    this.draining = true;
    this.options.onChange();
  }

  lost(): void {
    const given = [...this.active.values()];
    this.active.clear();
    for (const { isOver } of this.aborting.values()) isOver();
    if (this.draining) this.handBack(given);
    else this.failLost(given);
    this.draining = true;
    this.options.onChange();
  }

  private handBack(lost: GivenRun[]): void {
    for (const { run, conclude } of lost) {
      this.options.metrics.calls.add(1, { mode: 'pull', result: 'handed_back' });
      run.lease.handBack();
      conclude('over');
    }
  }

  /** For a circuit breaker a lost worker is one failed call of each function, not one of each run. */
  private failLost(lost: GivenRun[]): void {
    const { settlement, metrics } = this.options;
    const told = new Set<string>();
    const failure = {
      error: { name: 'worker_lost', message: 'the worker was lost in the middle of the run' },
      retryAtOnce: true,
    };
    for (const { run, call, policy, conclude } of lost) {
      metrics.calls.add(1, { mode: 'pull', result: 'lost' });
      // A probe's outcome is waited for, whichever run came before it.
      const isTold = told.has(run.functionId) && call.probe === undefined;
      told.add(run.functionId);
      const outcome = isTold ? undefined : { ...call, succeeded: false };
      void concluded(settlement.endFailedCall(run, failure, outcome, policy)).then(conclude);
    }
  }

  private async record(given: GivenRun, sequence: number, records: StepRecord[]): Promise<void> {
    const { run } = given;
    this.pin(run, records);
    const settled = await this.options.settlement.record(run, records);
    if (settled === 'settled') {
      this.options.socket.send({ type: 'recorded', runId: run.runId, writer: run.writer, sequence });
      return;
    }
    // Behind a record that was refused: what becomes of the run is decided there.
    if (settled === 'over' && run.lease.isHeld()) return;
    this.abort(run, settled === 'restart' ? 'the run has moved on' : 'the lease is over');
    this.release(given, settled);
  }

  /** By its first step: a build that is lost, declines or throws before it has recorded any keeps no run from others. */
  private pin(run: ActiveRun, records: StepRecord[]): void {
    if (!run.isPinnable || records.length === 0) return;
    const { buildId, pinRuns } = this.options.build;
    if (buildId !== undefined && pinRuns === true) run.journal.pin(buildId);
    run.isPinnable = false;
  }

  /** The worker is done with it and has the slot free; the run stays ours until its end is durable. */
  private async end(given: GivenRun, settled: Promise<Settled>): Promise<void> {
    this.active.delete(given.run.runId);
    this.ending += 1;
    this.options.onChange();
    given.conclude(await concluded(settled));
    this.ending -= 1;
    if (this.ending >= this.options.slots) this.options.onChange();
  }

  /** Unless it has just ended by itself. */
  private stop(given: GivenRun): void {
    const { run } = given;
    if (this.active.get(run.runId) !== given) return;
    this.options.metrics.calls.add(1, { mode: 'pull', result: 'cancelled' });
    const aborted = this.aborted(run);
    this.abort(run, 'the run is to stop');
    const settled = async (): Promise<Settled> => {
      // Its slots are another's to take once this is written.
      if (run.isLimited) await aborted.within(heededWithinMs);
      const how = await this.options.settlement.stop(
        run,
        run.isLimited && !aborted.isOver() ? abortedWithinMs : 0,
      );
      if (how === 'restart') await aborted.promise;
      aborted.forget();
      return how;
    };
    void this.end(given, settled());
  }

  /** Resolves when no step of that lease is at work any more, as far as is known. */
  private aborted(run: ActiveRun) {
    const lease = leaseOf(run);
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const promise = new Promise<void>((resolve) => {
      this.aborting.set(lease, { run, isOver: resolve });
      timer = setTimeout(resolve, abortedWithinMs).unref();
    }).then(() => {
      isOver = true;
    });
    const within = async (ms: number): Promise<void> => {
      const patience = new AbortController();
      await Promise.race([promise, delay(ms, undefined, { signal: patience.signal }).catch(() => undefined)]);
      patience.abort();
    };
    const forget = (): void => {
      clearTimeout(timer);
      this.aborting.delete(lease);
    };
    return { promise, within, isOver: () => isOver, forget };
  }

  private settle(given: GivenRun, records: StepRecord[], outcome: Outcome): Promise<Settled> {
    const { settlement, metrics } = this.options;
    const { run, call, policy } = given;
    const misfit = misfitOf(outcome, run.stopping);
    if (misfit !== undefined) return this.refuse(given, misfit);
    switch (outcome.kind) {
      case 'continue':
        return this.refuse(given, badAnswer('a worker goes on by itself: it cannot ask to be called'));
      case 'declined':
        metrics.calls.add(1, { mode: 'pull', result: 'declined' });
        if (run.stopping !== undefined) {
          // Another worker may be able to, but it is not waited for for ever.
          const failure = { error: undoDeclined[outcome.reason], notBeforeMs: declinedDelayMs };
          return settlement.endFailedCall(run, failure, undefined, policy);
        }
        return settlement.defer(run, { inMs: declinedDelayMs, reason: outcome.reason });
      default:
        metrics.calls.add(1, { mode: 'pull', result: 'answered' });
        this.pin(run, records);
        return settlement.end(run, records, outcome, { ...call, succeeded: true });
    }
  }

  private refuse({ run, call, policy }: GivenRun, error: Failure): Promise<Settled> {
    this.options.metrics.calls.add(1, { mode: 'pull', result: 'failed' });
    return this.options.settlement.endFailedCall(run, { error }, { ...call, succeeded: false }, policy);
  }

  private release(given: GivenRun, how: Driven): void {
    if (this.active.get(given.run.runId) === given) this.active.delete(given.run.runId);
    given.conclude(how);
    this.options.onChange();
  }

  private abort({ runId, writer }: { runId: string; writer: Writer }, reason: string): void {
    this.options.socket.send({ type: 'abort', runId, writer, reason });
  }

  private find(runId: string, writer: Writer): GivenRun | undefined {
    const given = this.active.get(runId);
    const mine = given?.run.writer;
    const isMine =
      mine?.activation === writer.activation &&
      mine.delivery === writer.delivery &&
      mine.executor === writer.executor;
    return isMine ? given : undefined;
  }
}

/** Why what a run had registered was not undone. */
const undoDeclined: Record<Extract<Outcome, { kind: 'declined' }>['reason'], Failure> = {
  protocol_version_unsupported: {
    name: 'sdk_too_old',
    message:
      'the SDK of the worker is older than step.compensate and cannot undo what the run had registered',
  },
  function_not_found: {
    name: 'function_not_found',
    message: 'the worker does not have the function, which alone can undo what the run had registered',
  },
  invocation_invalid: {
    name: 'invocation_invalid',
    message: 'the SDK of the worker could not read the run, and so not undo what it had registered',
  },
};

function leaseOf({ runId, writer }: { runId: string; writer: Writer }): string {
  return `${runId} ${writer.activation} ${writer.delivery} ${writer.executor}`;
}

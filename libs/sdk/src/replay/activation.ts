/**
 * Drives one activation of a run: calls the handler, lets recorded steps settle from the memo, runs what is new, and
 * knows when it is over. No transport, clock or randomness of its own: worker and push endpoint bring them. One state
 * machine, so one file.
 *
 * A1. Steps settle one at a time, in the order of the memo and then in the order in which they ended; the next one only
 *     after the handler has reacted to the one before (all microtasks have run). So a replay takes the same turns. A
 *     recorded step that the handler does not call is waited for, since work of its own may come before the call; after
 *     250 ms in which nothing moved the code must have changed, and those that it did call settle.
 * A2. A step settles from the text that is recorded: first run and replay see the same. Its record is submitted as soon as
 *     the handler has reacted, together with what the reaction brought: another record, or the end of the function. A
 *     submission, and an end, carry 4 MiB of records at most. Push: what does not fit into the answer is not recorded.
 * A3. No step begins before everything that was recorded before it was called is acknowledged. What a handler does outside
 *     of steps is not held back: it runs again in every replay anyway.
 * A4. It is over when the handler has settled and nothing it began is under way; or when steps wait for a timer, nothing
 *     is under way, nothing recorded is left to settle or to be called (A1, A7), and a whole turn of the event loop has brought
 *     no new step. A handler that awaits work of its own (outside of any step) beside a pending sleep or retry is therefore left, and
 *     called again when the timer is due. While no step is pending it is waited for.
 * A5. After the end nothing more is begun or recorded: a step called then stays pending for ever.
 * A6. `patched` answers at once, on the first run and on a replay, so that asking takes no turn: what is recorded of it, or
 *     false while a recorded step is left that the handler has neither called nor gone past (A1). That answer is recorded
 *     with it, ahead of whatever the handler does by it (A3). So code that always asked is not answered false: what is
 *     recorded before the marker was called before it, and is so in a replay, unless work of the handler's own decides
 *     which of the two comes first.
 * A7. What is recorded and the code does not fit is said with the end, once for each step: whoever calls tells what is
 *     known by then. A step is of another type when it is called as one, which ends the run. It is out of turn when it was
 *     gone past (A1), or when steps wait, it was not called, in whatever state it is, and for 250 ms nothing has moved. It is
 *     not called when the handler has returned without it (a loser of a race that is still busy with work of its own can be
 *     among those). When the handler throws, or its time is up, it may come further the next time: then nothing is said of
 *     what it did not call. Markers of `patched` are not looked for, and what they guard calls what the code before it did.
 * A8. `compensate` takes no turn either, and its record goes with those of the reaction that it is part of (A2).
 * A9. A run that is stopping is replayed as far as its memo goes, and nothing begins: what is not recorded as settled stays
 *     pending, and how the handler ends does not matter. Then what it has registered is undone, the last one first, each
 *     attempt recorded before the next one begins.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { limits } from '@ironflow/schema';
import type { Invocation, MemoizedStep, Outcome, StepRecord, StepType } from '@ironflow/schema';
import { ConfigurationError } from '../configuration-error.js';
import { NonRetryableError, NondeterminismError, StepError } from '../function-errors.js';
import type { IronflowFunction } from '../function.js';
import { createLogger } from '../logger.js';
import type { Log } from '../logger.js';
import { readOutput } from '../output.js';
import type { StartTimer } from '../timer.js';
import { attemptStep, recordOfFailure } from './attempt.js';
import type { Attempt, RunStep, StepWork } from './attempt.js';
import { answerable, Batches } from './batches.js';
import { Compensations } from './compensations.js';
import { Gate } from './gate.js';
import type { LineKeeper, StepPlace } from './kept-lines.js';
import { createHandlerContext } from './handler-context.js';
import { LazyAbort } from './lazy-abort.js';
import { readMemo } from './memo.js';
import { Occurrences } from './occurrences.js';
import { outcomeOfError, outcomeOfValue } from './outcome.js';
import { Mismatches } from './mismatches.js';
import { markerName, markerRecord } from './patches.js';
import type { PlatformCalls } from './platform-calls.js';

export interface Recorder {
  /** Resolves when the records are durable, in the order of the calls; rejects when they never will be. */
  record(records: StepRecord[]): Promise<void>;
}

export interface ActivationOptions {
  definition: IronflowFunction;
  invocation: Invocation;
  /** Absent where records become durable only with the answer (push): then new steps stay pending until the next call. */
  recorder?: Recorder;
  now: () => number;
  /** Uniform in [0, 1). */
  random: () => number;
  startTimer: StartTimer;
  /** What runs as the work of a step; without it, its own. For the test kit. */
  workOf?: (step: RunStep, stepId: string) => RunStep['work'];
  /** To the platform, as the function's own key. */
  platform: PlatformCalls;
  log: Log;
  /** Is given what the handler's logger writes. */
  keeper?: LineKeeper;
}

export type ActivationResult =
  /** `records` are those that no recorder took. */
  { kind: 'ended'; outcome: Outcome; records: StepRecord[] } | { kind: 'aborted' };

export interface Activation {
  readonly result: Promise<ActivationResult>;
  /** Nothing more is begun or recorded, and the signals fire. */
  abort(reason: Error): void;
  /** The call's time is over: what still runs counts as a failed attempt, and the result follows at once. */
  expire(): void;
  /** Resolves when no step is at work any more; one that was aborted may take its time. */
  atRest(): Promise<void>;
}

/** How long nothing must have moved before recorded steps settle out of turn. Only a function whose code changed waits. */
const patienceMs = 250;
/** For how long a handler that is busy with work of its own, and is to be undone, is waited for to come to what it registered. */
const replayMsMax = 30_000;
/** Nothing bounds a handler that a worker runs: say that it hangs, this often. */
const stuckAfterMs = 600_000;

/** Where the code of a step runs: a step that it calls is told from one that its handler calls. */
const stepScope = new AsyncLocalStorage<{ driver: unknown; stepId: string; attempt: number }>();

export function startActivation(options: ActivationOptions): Activation {
  const driver = new Driver(options);
  driver.start();
  return driver;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}
type Settled = Pick<MemoizedStep, 'id' | 'attempt' | 'status' | 'output' | 'error'>;
type HandlerEnd = { kind: 'returned'; value: unknown } | { kind: 'threw'; error: unknown };

class Driver implements Activation {
  readonly result: Promise<ActivationResult>;
  private finish!: (result: ActivationResult) => void;

  private readonly memo;
  private readonly occurrences = new Occurrences();
  private readonly gate = new Gate();
  private readonly lazyAbort = new LazyAbort();

  /** Steps that were called and have not settled. */
  private readonly pending = new Map<string, Pending>();
  /** What may settle, in order (A1). */
  private readonly settled: Settled[];
  /** Recorded steps that the handler went past without calling them, in case it still does. */
  private readonly passed = new Map<string, Settled>();
  private readonly mismatches: Mismatches;
  /** What `patched` has answered, by the id of its marker. */
  private readonly patches: Map<string, boolean>;
  private readonly compensations: Compensations;
  private readonly running = new Set<Attempt>();
  /** Recorded, and not submitted yet. */
  private readonly batches = new Batches(() => this.gate.submit());
  private readonly unsent: StepRecord[] = [];
  private nextOrder: number;
  /** Recorded steps that this replay has not come past. */
  private unseen: number;

  private over = false;
  /** The replay of a run that is stopping is over. */
  private undoing = false;
  private atRestListeners: (() => void)[] = [];
  private expired = false;
  private handlerEnd: HandlerEnd | undefined;
  private fatal: Error | undefined;
  private activity = 0;
  private turnScheduled = false;
  private idleScheduled = false;
  private cancelPatience: (() => void) | undefined;
  private cancelWatch: (() => void) | undefined;

  constructor(private readonly options: ActivationOptions) {
    this.result = new Promise((resolve) => (this.finish = resolve));
    this.memo = readMemo(options.invocation.memo);
    this.settled = [...this.memo.settled];
    this.patches = new Map(this.memo.patches);
    this.compensations = new Compensations(this.memo.compensations);
    this.nextOrder = this.memo.nextOrder;
    this.unseen = this.memo.byId.size;
    this.mismatches = new Mismatches(this.memo.byId, this.occurrences, options.invocation.mismatch);
  }

  start(): void {
    const { definition, invocation, log, keeper } = this.options;
    const { id, functionId } = invocation.run;
    const context = createHandlerContext({
      definition,
      invocation,
      abort: this.lazyAbort,
      now: this.options.now,
      platform: this.options.platform,
      logger: createLogger({
        log,
        fields: { runId: id, functionId },
        silent: () => this.isSilent(),
        keep: keeper === undefined ? undefined : (line) => keeper.add(line, this.stepAtWork()),
      }),
      call: (step) => this.call(step),
      reserve: (name) => this.occurrences.next(name),
      patched: (patchId) => this.patched(patchId),
      compensate: (step) => this.compensate(step),
      stepsLeft: () => limits.stepsPerRunMax - this.occurrences.size,
    });
    if (this.options.recorder !== undefined) this.watchProgress();
    void context
      .then((ready) => (this.over ? undefined : definition.handler(ready)))
      .then(
        (value): HandlerEnd => ({ kind: 'returned', value }),
        (error: unknown): HandlerEnd => ({ kind: 'threw', error }),
      )
      .then((end) => {
        this.handlerEnd = end;
        this.touch();
      });
  }

  abort(reason: Error): void {
    if (this.over) return;
    this.end({ kind: 'aborted' });
    this.lazyAbort.abort(reason);
  }

  expire(): void {
    if (this.over) return;
    this.expired = true;
    const reason = new Error('the deadline of the call passed');
    reason.name = 'DeadlineExceeded';
    for (const attempt of [...this.running]) {
      this.conclude(attempt, recordOfFailure(attempt, reason, this.options));
    }
    this.lazyAbort.abort(reason);
    this.touch();
  }

  atRest(): Promise<void> {
    if (this.running.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.atRestListeners.push(resolve));
  }

  private isStopping(): boolean {
    return this.options.invocation.stopping !== undefined;
  }

  /** What a replay runs again has been said. Within a step it has not, whatever else is replayed beside it. */
  private isSilent(): boolean {
    if (this.over) return true;
    if (this.undoing || this.stepAtWork() !== undefined) return false;
    return this.unseen > 0 || this.isStopping();
  }

  /** The attempt whose code runs now, if it is one's and not the handler's own. */
  private stepAtWork(): StepPlace | undefined {
    const scope = stepScope.getStore();
    return scope?.driver === this ? { id: scope.stepId, attempt: scope.attempt } : undefined;
  }

  /** Nothing that the handler still calls is heard. */
  private isClosed(): boolean {
    return this.over || this.expired || this.undoing || this.fatal !== undefined;
  }

  /** A step is called by the handler. */
  private call(step: StepWork): Promise<unknown> {
    this.refuseWithinStep(step.name);
    if (this.isClosed()) return new Promise(() => {});
    const id = ('id' in step ? step.id : undefined) ?? this.occurrences.next(step.name);
    const recorded = this.memo.byId.get(id);
    if (recorded !== undefined) this.mismatches.call(recorded, step.type);
    this.fatal = this.misfit(id, step.type, recorded);
    const promise = new Promise<unknown>((resolve, reject) => this.pending.set(id, { resolve, reject }));
    // One that nobody awaits must not end the process when it fails; its record says what happened.
    promise.catch(() => {});
    this.touch();
    if (this.fatal === undefined) this.pursue(id, step, recorded);
    return promise;
  }

  /** Whether the run goes by the patch is decided once (A6). */
  private patched(patchId: string): Promise<boolean> {
    const marker = markerName(patchId);
    this.refuseWithinStep(marker);
    if (this.isClosed()) return new Promise(() => {});
    // Counted in a replay too, so that the limit of steps is met at the same one.
    if (!this.occurrences.has(marker))
      this.fatal = this.misfit(this.occurrences.next(marker), 'run', undefined);
    let answer = this.patches.get(marker);
    if (answer === undefined) {
      answer = [...this.memo.byId.keys()].every((id) => this.occurrences.has(id) || this.passed.has(id));
      this.patches.set(marker, answer);
      this.batches.add(markerRecord(patchId, answer, this.options.now()));
    }
    this.touch();
    return Promise.resolve(answer);
  }

  private compensate(step: RunStep): Promise<void> {
    this.refuseWithinStep(step.name);
    if (this.isClosed()) return new Promise(() => {});
    const id = this.occurrences.next(step.name);
    this.fatal = this.misfit(id, step.type, undefined);
    const record = this.compensations.register(id, step, this.options.now());
    if (record !== undefined) this.batches.add(record);
    this.touch();
    return Promise.resolve();
  }

  private refuseWithinStep(name: string): void {
    const outer = stepScope.getStore();
    if (outer?.driver !== this) return;
    throw new NonRetryableError(`step "${name}" is called inside step "${outer.stepId}": steps do not nest`);
  }

  private misfit(id: string, type: StepType, recorded: MemoizedStep | undefined): Error | undefined {
    if (recorded !== undefined && recorded.type !== type) {
      const message = `step "${id}" was recorded as ${recorded.type}, but the function now calls it as ${type}`;
      return new NondeterminismError(id, message);
    }
    if (this.occurrences.size > limits.stepsPerRunMax) {
      return new ConfigurationError(`a run has at most ${limits.stepsPerRunMax} steps`);
    }
    return undefined;
  }

  private pursue(id: string, step: StepWork, recorded: MemoizedStep | undefined): void {
    switch (recorded?.status) {
      case 'completed':
      case 'failed': {
        const passed = this.passed.get(id);
        if (passed !== undefined && this.passed.delete(id)) this.settled.push(passed);
        return;
      }
      case 'waiting':
      case 'retrying':
        // Its timer is not due.
        this.unseen -= 1;
        this.options.keeper?.passRecorded();
        return;
      case 'errored':
        this.unseen -= 1;
        this.options.keeper?.passRecorded();
        if (this.isStopping()) return;
        this.gate.pass(() => this.begin(id, step, recorded.attempt + 1));
        return;
      case 'registered':
      case undefined:
        this.unseen = 0;
        if (this.isStopping()) return;
        if (!('record' in step) && this.gate.outstanding > 0) this.options.keeper?.passHeld();
        else this.options.keeper?.passRecorded();
        if ('record' in step) this.note(step.record(id, () => this.nextOrder++));
        else this.gate.pass(() => this.begin(id, step, 1));
    }
  }

  private begin(id: string, step: StepWork, number: number): void {
    if (this.over || this.expired || this.fatal !== undefined || 'record' in step) return;
    const { workOf, now } = this.options;
    const own = workOf === undefined || step.type === 'invoke' ? step : { ...step, work: workOf(step, id) };
    const attempt: Attempt = { id, step: own, number, startedAtMs: now() };
    this.running.add(attempt);
    const options = { ...this.options, abort: this.lazyAbort };
    const record = stepScope.run(
      { driver: this, stepId: id, attempt: number },
      attemptStep,
      attempt,
      options,
    );
    void record.then((ended) => this.conclude(attempt, ended));
  }

  private conclude(attempt: Attempt, record: StepRecord): void {
    if (!this.running.delete(attempt)) return;
    if (this.running.size === 0) for (const listener of this.atRestListeners.splice(0)) listener();
    if (this.over) return;
    if (this.undoing) return this.concludeUndo(record);
    this.note(settles(record) ? { ...record, order: this.nextOrder++ } : record);
    this.touch();
  }

  private note(record: StepRecord): void {
    this.batches.add(record);
    if (settles(record)) this.settled.push(record);
  }

  /** Something happened: look again as soon as the handler has reacted to it. */
  private touch(): void {
    this.activity += 1;
    if (this.turnScheduled || this.over) return;
    this.turnScheduled = true;
    queueMicrotask(this.afterMicrotasks);
  }

  // A tick that is queued from a microtask runs once no microtask is left.
  private readonly afterMicrotasks = (): void => process.nextTick(this.turn);

  private readonly turn = (): void => {
    this.turnScheduled = false;
    if (this.over || this.undoing) return;
    const next = this.settled[0];
    if (next !== undefined && this.pending.has(next.id)) {
      this.settled.shift();
      this.settle(next);
      return;
    }
    if (this.isStopping()) {
      this.lookWhenIdle();
      return;
    }
    if (this.handlerEnd === undefined || !this.isLastBatch()) this.flush();
    if (this.handlerEnd !== undefined) this.endIfQuiet();
    else if (this.quiet() || this.settled.length > 0) this.lookWhenIdle();
  };

  private lookWhenIdle(): void {
    if (this.idleScheduled || this.over) return;
    this.idleScheduled = true;
    const activity = this.activity;
    setImmediate(() => {
      this.idleScheduled = false;
      if (this.over || this.undoing) return;
      if (activity !== this.activity) this.touch();
      else if (this.isStopping()) this.goOnOrUndo(activity);
      else if (this.fatal !== undefined || !this.mayStillBeCalled()) this.endIfQuiet();
      else if (this.expired) this.goOnOutOfTurn();
      else this.bePatient(activity);
    });
  }

  /** A recorded step that the handler has not called, and for which it is left some time. */
  private mayStillBeCalled(): boolean {
    if (this.settled.length > 0) return true;
    // Only where the activation would end and leave it behind: steps wait, and none is held back for another call.
    return this.pending.size > 0 && this.gate.held === 0 && this.mismatches.isAnyAwaited();
  }

  private bePatient(activity: number, thenGoOn = () => this.goOnOutOfTurn(), waitMs = patienceMs): void {
    this.cancelPatience?.();
    this.cancelPatience = this.options.startTimer(waitMs, () => {
      // A process that stood still has to catch up first.
      setImmediate(() => {
        if (!this.over && activity === this.activity) thenGoOn();
      });
    });
  }

  /** Whether the replay of a run that is stopping has come to its end (A9). */
  private goOnOrUndo(activity: number): void {
    if (this.expired) {
      this.endLate();
      return;
    }
    const canSettle = this.settled.some(({ id }) => this.pending.has(id));
    if (this.fatal !== undefined || this.compensations.allMet) this.beginUndoing();
    else if (canSettle) this.bePatient(activity);
    else if (this.handlerEnd !== undefined) this.beginUndoing();
    else {
      const waitMs = this.pending.size > 0 ? patienceMs : replayMsMax;
      this.bePatient(activity, () => this.beginUndoing(), waitMs);
    }
  }

  private beginUndoing(): void {
    this.undoing = true;
    this.cancelPatience?.();
    this.flush();
    this.undoNext();
  }

  private undoNext(): void {
    if (this.over) return;
    const next = this.compensations.next();
    if (next.kind === 'done') this.endUndoing({ kind: 'stopped' });
    else if (next.kind === 'wait') this.endUndoing({ kind: 'yielded' });
    // Push: what was undone is durable with the answer alone.
    else if (this.unsent.some(({ attempt }) => attempt > 0)) this.endUndoing({ kind: 'continue' });
    else this.begin(next.id, next.step, next.number);
  }

  private concludeUndo(record: StepRecord): void {
    this.compensations.note(record);
    const { recorder } = this.options;
    if (recorder === undefined) {
      this.unsent.push(record);
      this.undoNext();
      return;
    }
    recorder.record([record]).then(
      () => this.undoNext(),
      (error: unknown) => this.abort(asError(error)),
    );
  }

  private endUndoing(outcome: Outcome): void {
    this.end({ kind: 'ended', outcome, records: this.unsent });
  }

  /** The deadline of the call has passed in the replay. */
  private endLate(): void {
    const { definition, invocation, random } = this.options;
    const context = { policy: definition.config.retries, attempt: invocation.run.attempt, random };
    this.end({ kind: 'ended', outcome: outcomeOfError(deadlinePassed(), context), records: [] });
  }

  /** The handler does not call the step whose turn it is (its code was changed): go on with one that it did call. */
  private goOnOutOfTurn(): void {
    const index = this.settled.findIndex(({ id }) => this.pending.has(id));
    if (index === -1) {
      this.endIfQuiet();
      return;
    }
    const skipped = this.settled.splice(0, index);
    for (const step of skipped) this.passed.set(step.id, step);
    // When time is up nobody was waited for.
    if (!this.expired) this.mismatches.pass(skipped);
    this.settle(this.settled.shift()!);
  }

  private settle(step: Settled): void {
    const pending = this.pending.get(step.id)!;
    this.pending.delete(step.id);
    if (this.memo.byId.has(step.id) && this.unseen > 0) this.unseen -= 1;
    this.options.keeper?.passRecorded();
    if (step.status === 'failed') {
      const failure = step.error ?? { name: 'Error', message: 'its error was not kept' };
      pending.reject(new StepError({ stepId: step.id, attempts: step.attempt, failure }));
    } else {
      this.resolve(step, pending);
    }
    this.touch();
  }

  private resolve(step: Settled, pending: Pending): void {
    try {
      pending.resolve(readOutput(step.output));
    } catch {
      this.fatal = new NondeterminismError(step.id, `the recorded output of step "${step.id}" is not JSON`);
    }
  }

  /** Submits what was recorded in this turn, as one if it fits. */
  private flush(): void {
    const { recorder } = this.options;
    for (const { submission, records } of this.batches.take()) {
      if (recorder === undefined) this.unsent.push(...records);
      else {
        recorder.record(records).then(
          () => this.acknowledge(submission),
          (error: unknown) => this.abort(asError(error)),
        );
      }
    }
  }

  private acknowledge(submission: number): void {
    if (this.over) return;
    this.gate.acknowledge(submission);
    this.touch();
  }

  /** Nothing else is under way: what is still to be submitted goes with the end. */
  private isLastBatch(): boolean {
    const { count } = this.batches;
    return count <= 1 && this.running.size === 0 && this.gate.outstanding === count && this.gate.held === 0;
  }

  /** Nothing is under way of which this activation can still see the end. */
  private quiet(): boolean {
    return this.options.recorder === undefined ? this.running.size === 0 : this.isLastBatch();
  }

  private endIfQuiet(): void {
    if (this.over || !this.quiet()) return;
    const outcome = this.outcome();
    if (outcome === undefined) return;
    const recorded = [...this.unsent, ...this.batches.take().flatMap(({ records }) => records)];
    const records = this.options.recorder === undefined ? answerable(recorded) : recorded;
    // What was left out is not recorded, so nothing that came after it can be.
    const complete = records.length === recorded.length;
    this.end({
      kind: 'ended',
      outcome: complete ? this.withMismatch(outcome) : { kind: 'continue' },
      records,
    });
  }

  /** `undefined`: the handler is busy with work of its own. */
  private outcome(): Outcome | undefined {
    const { definition, invocation, random } = this.options;
    const context = { policy: definition.config.retries, attempt: invocation.run.attempt, random };
    if (this.fatal !== undefined) return outcomeOfError(this.fatal, context);
    // A step that could not begin in this call needs another one, also when nobody waits for it.
    if (this.gate.held > 0) return { kind: 'continue' };
    if (this.handlerEnd?.kind === 'threw') return outcomeOfError(this.handlerEnd.error, context);
    if (this.handlerEnd?.kind === 'returned') return outcomeOfValue(this.handlerEnd.value, context);
    if (this.pending.size > 0) return { kind: 'yielded' };
    if (this.unsent.some(settles)) return { kind: 'continue' };
    if (!this.expired) return undefined;
    return outcomeOfError(deadlinePassed(), context);
  }

  /** Says what does not fit, if nobody knows of it yet (A7). */
  private withMismatch(outcome: Outcome): Outcome {
    if (outcome.kind === 'continue' || outcome.kind === 'declined') return outcome;
    const kind = outcome.kind === 'completed' ? 'not_called' : 'out_of_turn';
    const mismatch = this.mismatches.report(outcome.kind === 'threw' || this.expired ? undefined : kind);
    if (mismatch === undefined) return outcome;
    this.warn('what is recorded of the run does not fit this version of the function', { ...mismatch });
    return { ...outcome, mismatch };
  }

  private watchProgress(): void {
    const activity = this.activity;
    this.cancelWatch = this.options.startTimer(stuckAfterMs, () => {
      if (activity === this.activity) this.warn('the run has made no progress for 10 minutes', {});
      this.watchProgress();
    });
  }

  private warn(message: string, more: Record<string, unknown>): void {
    const { id: runId, functionId } = this.options.invocation.run;
    this.options.log({ level: 'warn', message, fields: { runId, functionId, ...more } });
  }

  private end(result: ActivationResult): void {
    this.over = true;
    this.cancelPatience?.();
    this.cancelWatch?.();
    this.finish(result);
  }
}

function deadlinePassed(): Error {
  const late = new Error('the deadline of the call passed while the function was busy outside of a step');
  late.name = 'DeadlineExceeded';
  return late;
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error('the records were refused');
}

type SettlingRecord = Extract<StepRecord, { status: 'completed' | 'failed' }>;
function settles(record: StepRecord): record is SettlingRecord {
  return record.status === 'completed' || record.status === 'failed';
}

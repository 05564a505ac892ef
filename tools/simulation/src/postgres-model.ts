/**
 * Tables in memory, and the rules of libs/database's statements said again in TypeScript: what is SQL there cannot run here, so
 * this is a model of it and shows nothing of it (its own suites do). Every method is one transaction over the same tables, so
 * they are one file.
 */
import { deriveRunId, isTerminal, subjects } from '@ironflow/schema';
import type {
  Awaited,
  Failure,
  MemoizedStep,
  RunStatus,
  Scope,
  JournaledStep,
  StoredEvent,
} from '@ironflow/schema';
import type {
  AcceptedRun,
  StoppedRun,
  EventToRoute,
  NewRun,
  OpenWait,
  Resolution,
  ResolvedWaits,
  RoutingOutcome,
  RunProgress,
  RunState,
  RunToActivate,
} from '@ironflow/database';

export interface RunRow {
  id: string;
  event: StoredEvent;
  appId: string;
  functionId: string;
  mode: 'push' | 'pull';
  status: RunStatus;
  wake: number;
  served: number;
  failures: number;
  activeMs: number;
  stopRequestedAtMs: number | undefined;
  journalSeq: number;
  createdAtMs: number;
  startedAtMs: number | undefined;
  endedAtMs: number | undefined;
  wokenAtMs: number;
  output: string | undefined;
  error: Failure | undefined;
}

export interface StepRow extends MemoizedStep {
  endedAtMs: number | undefined;
  dueAtMs: number | undefined;
  awaitedEventId?: string | undefined;
}

interface WaitRow {
  runId: string;
  stepId: string;
  attempt: number;
  awaited: Awaited;
  lookedBack: boolean;
  place: number;
  createdAtMs: number;
}

interface SignalRow {
  id: string;
  runId: string;
  name: string;
  data: string;
  taken: boolean;
  order: number;
}

/** Told of what is decided here, as it is decided. */
export interface PostgresObserver {
  onAccepted(run: RunRow, progress: RunProgress): void;
  onDue(run: RunRow, stepId: string, dueAtMs: number): void;
  onRouted(event: StoredEvent, registryVersion: number): void;
}

const invokeTimedOut: Failure = { name: 'InvokeTimeout', message: 'the invoked run did not end in time' };
const heldMs = 100;
const liveStatuses: readonly RunStatus[] = ['queued', 'running', 'waiting', 'waiting_for_worker'];

export class PostgresModel {
  readonly events = new Map<string, StoredEvent>();
  readonly unrouted = new Set<string>();
  readonly awaitedEvents = new Map<string, number>();
  readonly runs = new Map<string, RunRow>();
  /** By run, then by step; of each step its attempts. */
  readonly steps = new Map<string, Map<string, StepRow[]>>();
  readonly timers = new Map<string, { runId: string; stepId: string; attempt: number; dueAtMs: number }>();
  readonly waits = new Map<string, WaitRow>();
  readonly signals: SignalRow[] = [];
  readonly locks = new Set<string>();
  registryVersion = 1;
  private readonly keys = new Map<string, string>();
  private places = 0;

  constructor(
    private readonly now: () => number,
    private readonly observer: PostgresObserver,
  ) {}

  /** Answers the event that has the key, which may be an earlier one. */
  storeEvent(event: StoredEvent, key?: string): StoredEvent {
    const known = key === undefined ? undefined : this.keys.get(key);
    if (known !== undefined) return this.events.get(known)!;
    if (key !== undefined) this.keys.set(key, event.id);
    this.events.set(event.id, event);
    this.unrouted.add(event.id);
    return event;
  }

  storeSignal(signal: Pick<SignalRow, 'id' | 'runId' | 'name' | 'data'>): boolean {
    const run = this.runs.get(signal.runId);
    if (run === undefined) return false;
    if (isTerminal(run.status) || this.signals.some(({ id }) => id === signal.id)) return true;
    this.signals.push({ ...signal, taken: false, order: (this.places += 1) });
    return true;
  }

  requestStop(runId: string): RunToActivate[] {
    const run = this.runs.get(runId);
    if (run === undefined || isTerminal(run.status) || run.stopRequestedAtMs !== undefined) return [];
    run.stopRequestedAtMs = this.now();
    run.wake += 1;
    run.wokenAtMs = this.now();
    if (run.status === 'waiting' || run.status === 'waiting_for_worker') run.status = 'queued';
    return [toActivate(run)];
  }

  routeEvents(events: readonly EventToRoute[], runs: readonly NewRun[]): RoutingOutcome {
    const outcome: RoutingOutcome = { routed: [], awaited: [], stale: [], settled: [] };
    for (const event of events) {
      if (!this.unrouted.has(event.id)) outcome.settled.push(event.id);
      else if (event.registryVersion !== this.registryVersion) outcome.stale.push(event.id);
      else {
        this.unrouted.delete(event.id);
        outcome.routed.push(event.id);
        this.observer.onRouted(this.events.get(event.id)!, event.registryVersion);
        const isAwaited = [...this.waits.values()].some(
          ({ awaited }) => awaited.kind === 'event' && awaited.event === event.awaitedAs,
        );
        if (!isAwaited && !event.cancels) continue;
        this.awaitedEvents.set(event.id, this.now());
        outcome.awaited.push(event.id);
      }
    }
    for (const run of runs) if (outcome.routed.includes(run.eventId)) this.insertRun(run);
    return outcome;
  }

  runsToActivate(wanted: (run: RunRow) => boolean): RunToActivate[] {
    return [...this.runs.values()]
      .filter(
        (run) =>
          run.wake > run.served && ['queued', 'running', 'waiting'].includes(run.status) && wanted(run),
      )
      .map(toActivate);
  }

  restForWorker(runIds: readonly string[]): string[] {
    return this.rows(runIds)
      .filter(({ status, stopRequestedAtMs }) => status === 'queued' && stopRequestedAtMs === undefined)
      .map((run) => {
        run.status = 'waiting_for_worker';
        return run.id;
      });
  }

  releaseForWorker(appId: string): RunToActivate[] {
    const resting = [...this.runs.values()].filter(
      (run) => run.appId === appId && run.status === 'waiting_for_worker',
    );
    return resting.map((run) => {
      run.status = 'queued';
      run.wokenAtMs = this.now();
      return toActivate(run);
    });
  }

  stoppingRuns(runIds: readonly string[]) {
    return this.rows(runIds)
      .filter(
        ({ status, stopRequestedAtMs }) =>
          stopRequestedAtMs !== undefined &&
          (status === 'running' ? stopRequestedAtMs < this.now() - 15_000 : !isTerminal(status)),
      )
      .map(({ id: runId, journalSeq, wake, served }) => ({ runId, journalSeq, wake, served }));
  }

  endStopped(runs: readonly { runId: string; journalSeq: number }[]): Map<string, StoppedRun> {
    const ended = new Map<string, StoppedRun>();
    for (const { runId, journalSeq } of runs) {
      const run = this.runs.get(runId)!;
      if (isTerminal(run.status) || run.journalSeq !== journalSeq) continue;
      run.status = 'cancelled';
      run.endedAtMs = this.now();
      ended.set(runId, { status: 'cancelled', awaitedBy: this.awaitedBy(runId), freed: [] });
      this.leaveNothing(runId);
    }
    return ended;
  }

  apply(batch: readonly RunProgress[]): AcceptedRun[] {
    return batch.flatMap((progress) => {
      const run = this.runs.get(progress.runId);
      if (run === undefined || run.journalSeq !== progress.prev || isTerminal(run.status)) return [];
      return [this.applyTo(run, progress)];
    });
  }

  positions(runIds: readonly string[]): Map<string, AcceptedRun> {
    return new Map(this.rows(runIds).map((run) => [run.id, accepted(run)]));
  }

  loadRuns(runIds: readonly string[]): Map<string, RunState> {
    return new Map(
      this.rows(runIds).map((run) => {
        const {
          id: runId,
          event,
          appId,
          functionId,
          status,
          wake,
          served,
          failures,
          activeMs,
          journalSeq,
        } = run;
        const { scope, ...rest } = event;
        const steps = this.memoOf(runId);
        const memoBytes = steps.reduce((bytes, { output = '' }) => bytes + output.length, 0);
        const stopRequested = run.stopRequestedAtMs !== undefined;
        const position = {
          status,
          wake,
          served,
          failures,
          activeMs,
          stopRequested,
          begun: run.startedAtMs !== undefined,
          startExpired: false,
          journalSeq,
          steps,
          memoBytes,
        };
        const registryVersion = this.registryVersion;
        return [
          runId,
          {
            runId,
            scope,
            appId,
            functionId,
            registryVersion,
            event: rest,
            laterEvents: [],
            limited: false,
            ...position,
          },
        ];
      }),
    );
  }

  /** A wait that somebody has still to look at is held: its timer comes again a moment later. */
  fireTimers(limit: number): { fired: number; woken: RunToActivate[]; held: string[] } {
    const due = [...this.timers.values()].filter(({ dueAtMs }) => dueAtMs <= this.now());
    due.sort((a, b) => a.dueAtMs - b.dueAtMs);
    const taken = due.slice(0, limit);
    const held = taken.filter(({ runId, stepId }) =>
      this.mayBeAnswered(this.waits.get(keyOf(runId, stepId))),
    );
    for (const timer of held) timer.dueAtMs = this.now() + heldMs;
    const fired = taken.filter((timer) => !held.includes(timer));
    for (const { runId, stepId, attempt, dueAtMs } of fired) {
      this.timers.delete(keyOf(runId, stepId));
      this.observer.onDue(this.runs.get(runId)!, stepId, dueAtMs);
      const step = this.steps
        .get(runId)
        ?.get(stepId)
        ?.find((row) => row.attempt === attempt);
      if (step !== undefined) this.endWait(runId, step);
    }
    const woken = [...new Set(fired.map(({ runId }) => runId))].flatMap((runId) => this.wake(runId));
    return { fired: fired.length, woken, held: [...new Set(held.map(({ runId }) => runId))] };
  }

  nextDueInMs(): number | undefined {
    const due = [...this.timers.values()].map(({ dueAtMs }) => dueAtMs);
    return due.length === 0 ? undefined : Math.min(...due) - this.now();
  }

  waitsOf(wanted: (wait: WaitRow) => boolean): OpenWait[] {
    return [...this.waits.values()]
      .filter(wanted)
      .sort((a, b) => (a.runId < b.runId ? -1 : a.runId > b.runId ? 1 : a.place - b.place))
      .map((wait) => this.openWait(wait));
  }

  eventsFor(wait: OpenWait, after: string | undefined, limit: number): StoredEvent[] {
    const used = new Set(this.rowsOf(wait.runId).map(({ awaitedEventId }) => awaitedEventId));
    return [...this.events.values()]
      .filter(
        (event) =>
          event.name === wait.name &&
          event.id !== wait.trigger.id &&
          event.functionId === undefined &&
          event.receivedAtMs >= wait.trigger.receivedAtMs &&
          (after === undefined || event.id > after) &&
          !used.has(event.id),
      )
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .slice(0, limit);
  }

  resolveWaits(resolutions: readonly Resolution[]): ResolvedWaits {
    const resolved = resolutions.filter((resolution) => this.resolve(resolution));
    const woken = [...new Set(resolved.map(({ runId }) => runId))].flatMap((runId) => this.wake(runId));
    return { resolved: resolved.map(({ runId, stepId }) => ({ runId, stepId })), woken, ended: [] };
  }

  runsToLookAt(olderThanMs: number): string[] {
    const runIds = [...this.waits.values()]
      .filter(
        (wait) => (!wait.lookedBack && wait.createdAtMs < this.now() - olderThanMs) || this.hasAnswer(wait),
      )
      .map(({ runId }) => runId);
    return [...new Set(runIds)];
  }

  isUnroutedBefore({ receivedAtMs }: StoredEvent): boolean {
    return [...this.unrouted].some((id) => this.events.get(id)!.receivedAtMs <= receivedAtMs);
  }

  memoOf(runId: string): MemoizedStep[] {
    const placed = (row: StepRow): number => row.order ?? Infinity;
    const ended = (row: StepRow): number => row.endedAtMs ?? Infinity;
    return this.rowsOf(runId)
      .sort(
        (a, b) =>
          compare(placed(a), placed(b)) ||
          compare(ended(a), ended(b)) ||
          compare(a.dueAtMs ?? Infinity, b.dueAtMs ?? Infinity) ||
          (a.id < b.id ? -1 : 1),
      )
      .map(({ id, type, attempt, status, order, output, error }) => ({
        ...{ id, type, attempt, status },
        ...(order === undefined ? {} : { order }),
        ...(output === undefined ? {} : { output }),
        ...(error === undefined ? {} : { error }),
      }));
  }

  /** The last attempt of each step. */
  private rowsOf(runId: string): StepRow[] {
    return [...(this.steps.get(runId)?.values() ?? [])].map((attempts) => attempts.at(-1)!);
  }

  private rows(runIds: readonly string[]): RunRow[] {
    return [...new Set(runIds)].flatMap((runId) => this.runs.get(runId) ?? []);
  }

  private insertRun({ id, eventId, appId, functionId, mode, status }: NewRun): void {
    if (this.runs.has(id)) return;
    const nowMs = this.now();
    this.runs.set(id, {
      ...{ id, appId, functionId, mode, status },
      event: this.events.get(eventId)!,
      wake: status === 'skipped' ? 0 : 1,
      ...{ served: 0, failures: 0, activeMs: 0, stopRequestedAtMs: undefined, journalSeq: 0 },
      ...{ createdAtMs: nowMs, wokenAtMs: nowMs, startedAtMs: undefined },
      endedAtMs: status === 'skipped' ? nowMs : undefined,
      ...{ output: undefined, error: undefined },
    });
  }

  private applyTo(run: RunRow, progress: RunProgress): AcceptedRun {
    this.observer.onAccepted(run, progress);
    const { status, served = 0, retryInMs } = progress;
    const isEnd = status !== undefined && isTerminal(status);
    const retries = !isEnd && retryInMs !== undefined;
    const isStopping = run.stopRequestedAtMs !== undefined;
    const goesOn =
      status === 'waiting' && (!retries || isStopping) && run.wake > Math.max(run.served, served);
    run.status = goesOn ? 'queued' : (status ?? run.status);
    run.served = Math.max(run.served, served, retries && !isStopping ? run.wake : 0);
    run.journalSeq = progress.journalSeq;
    run.failures = progress.failures ?? run.failures;
    run.activeMs += progress.activeMs ?? 0;
    run.startedAtMs ??= progress.startedAtMs;
    run.output = progress.output ?? run.output;
    run.error = progress.error ?? run.error;
    if (isEnd) run.endedAtMs = this.now();
    const dues = progress.steps.flatMap((step) => this.store(run.id, step, isEnd, progress.steps) ?? []);
    if (retries) {
      const dueAtMs = this.now() + retryInMs;
      this.timers.set(keyOf(run.id, ''), { runId: run.id, stepId: '', attempt: 0, dueAtMs });
      dues.push(dueAtMs);
    }
    const awaitedBy = isEnd ? this.awaitedBy(run.id) : undefined;
    if (isEnd) this.leaveNothing(run.id);
    return {
      ...accepted(run),
      ...(dues.length === 0 ? {} : { nextDueInMs: Math.min(...dues) - this.now() }),
      ...(awaitedBy === undefined || awaitedBy.length === 0 ? {} : { awaitedBy }),
    };
  }

  /** Answers when it is due, if it is. */
  private store(
    runId: string,
    step: JournaledStep,
    isEnd: boolean,
    beside: readonly JournaledStep[],
  ): number | undefined {
    const steps = this.steps.get(runId) ?? new Map<string, StepRow[]>();
    this.steps.set(runId, steps);
    const attempts = steps.get(step.id) ?? [];
    if (attempts.some(({ attempt }) => attempt === step.attempt)) return undefined;
    const isSuperseded = beside.some(({ id, attempt }) => id === step.id && attempt > step.attempt);
    const dueAtMs = isEnd || isSuperseded ? undefined : this.dueOf(step);
    const { id, type, attempt } = step;
    attempts.push({
      ...{ id, type, attempt },
      status: step.status === 'retrying' && isSuperseded ? 'errored' : step.status,
      output: step.status === 'completed' ? step.output : undefined,
      error: 'error' in step ? step.error : undefined,
      order: 'order' in step ? step.order : undefined,
      endedAtMs: step.status === 'waiting' ? undefined : step.endedAtMs,
      dueAtMs,
    });
    attempts.sort((a, b) => a.attempt - b.attempt);
    steps.set(id, attempts);
    if (dueAtMs !== undefined) this.timers.set(keyOf(runId, id), { runId, stepId: id, attempt, dueAtMs });
    if (step.status === 'waiting' && step.type !== 'sleep' && !isEnd && !this.waits.has(keyOf(runId, id))) {
      const place = (this.places += 1);
      const { awaited } = step;
      const createdAtMs = this.now();
      this.waits.set(keyOf(runId, id), {
        runId,
        stepId: id,
        attempt,
        awaited,
        lookedBack: false,
        place,
        createdAtMs,
      });
    }
    return dueAtMs;
  }

  private dueOf(step: JournaledStep): number | undefined {
    if (step.status === 'retrying') return this.now() + step.retryInMs;
    if (step.status !== 'waiting' || step.due === undefined) return undefined;
    return 'inMs' in step.due ? this.now() + step.due.inMs : step.due.atMs;
  }

  private endWait(runId: string, step: StepRow): void {
    this.waits.delete(keyOf(runId, step.id));
    if (step.status === 'retrying') step.status = 'errored';
    else if (step.status === 'waiting') {
      step.endedAtMs = this.now();
      step.status = step.type === 'invoke' ? 'failed' : 'completed';
      if (step.type === 'invoke') step.error = invokeTimedOut;
      else if (step.type !== 'sleep') step.output = 'null';
    }
  }

  private resolve({ runId, stepId, output, error, eventId, signalId }: Resolution): boolean {
    const wait = this.waits.get(keyOf(runId, stepId));
    if (wait === undefined) return false;
    if (eventId !== undefined && this.rowsOf(runId).some((row) => row.awaitedEventId === eventId))
      return false;
    const signal = this.signals.find((one) => one.runId === runId && one.id === signalId && !one.taken);
    if (signalId !== undefined && signal === undefined) return false;
    this.waits.delete(keyOf(runId, stepId));
    this.timers.delete(keyOf(runId, stepId));
    if (signal !== undefined) signal.taken = true;
    const step = this.steps
      .get(runId)!
      .get(stepId)!
      .find(({ attempt }) => attempt === wait.attempt)!;
    if (step.status !== 'waiting') return true;
    step.status = error === undefined ? 'completed' : 'failed';
    const { awaited } = wait;
    const returned =
      awaited.kind === 'run' && error === undefined ? this.runs.get(awaitedRunOf(awaited)) : undefined;
    step.output = signal?.data ?? returned?.output ?? output;
    step.error = error;
    step.awaitedEventId = eventId;
    step.endedAtMs = this.now();
    return true;
  }

  private mayBeAnswered(wait: WaitRow | undefined): boolean {
    return wait !== undefined && (!wait.lookedBack || this.hasAnswer(wait));
  }

  /** A signal or an ended run that is there, and was not taken yet. */
  private hasAnswer({ awaited, runId }: WaitRow): boolean {
    if (awaited.kind === 'signal') {
      return this.signals.some((one) => one.runId === runId && one.name === awaited.signal && !one.taken);
    }
    return awaited.kind === 'run' && isTerminal(this.runs.get(awaitedRunOf(awaited))?.status ?? 'queued');
  }

  /** Unless a retry of the run itself is still to come, which finds what has changed. */
  private wake(runId: string): RunToActivate[] {
    const run = this.runs.get(runId)!;
    if (!liveStatuses.includes(run.status) || (this.timers.get(keyOf(runId, ''))?.dueAtMs ?? 0) > this.now())
      return [];
    run.wake += 1;
    run.wokenAtMs = this.now();
    if (run.status === 'waiting') run.status = 'queued';
    return run.status === 'waiting_for_worker' ? [] : [toActivate(run)];
  }

  private awaitedBy(runId: string): string[] {
    return [...this.waits.values()]
      .filter(({ awaited }) => awaited.kind === 'run' && awaitedRunOf(awaited) === runId)
      .map((wait) => wait.runId);
  }

  private leaveNothing(runId: string): void {
    for (const [key, timer] of this.timers) if (timer.runId === runId) this.timers.delete(key);
    for (const [key, wait] of this.waits) if (wait.runId === runId) this.waits.delete(key);
    for (const signal of this.signals) if (signal.runId === runId) signal.taken = true;
  }

  private openWait({ runId, stepId, awaited, lookedBack }: WaitRow): OpenWait {
    const { event } = this.runs.get(runId)!;
    const awaitedRow = awaited.kind === 'run' ? this.runs.get(awaitedRunOf(awaited)) : undefined;
    const isEnded = awaitedRow !== undefined && isTerminal(awaitedRow.status);
    return {
      ...{ runId, stepId, lookedBack },
      scope: event.scope,
      kind: awaited.kind,
      name: awaited.kind === 'event' ? awaited.event : awaited.kind === 'signal' ? awaited.signal : undefined,
      condition: awaited.kind === 'event' ? awaited.condition : undefined,
      match: awaited.kind === 'event' ? awaited.match : undefined,
      trigger: { ...event, data: '' },
      awaitedRun: isEnded ? { status: awaitedRow.status, error: awaitedRow.error } : undefined,
    };
  }
}

export const scope: Scope = {
  environmentId: '0192f0c0-0000-7000-8000-00000000e001',
  project: 'simulated',
  env: 'test',
};

export function eventSubject({ name }: StoredEvent): string {
  return subjects.event(scope, name);
}

function awaitedRunOf({ eventId, functionId }: Extract<Awaited, { kind: 'run' }>): string {
  return deriveRunId({ environmentId: scope.environmentId, eventId, functionId });
}

export function keyOf(runId: string, stepId: string): string {
  return `${runId} ${stepId}`;
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function toActivate({ id: runId, mode, appId, functionId, event }: RunRow): RunToActivate {
  return { runId, scope, mode, appId, functionId, eventId: event.id };
}

function accepted(run: RunRow): AcceptedRun {
  const {
    id: runId,
    functionId,
    appId,
    mode,
    status,
    journalSeq,
    wake,
    served,
    createdAtMs,
    endedAtMs,
  } = run;
  return {
    ...{ runId, scope, functionId, appId, mode, status, journalSeq, wake, served, createdAtMs },
    eventId: run.event.id,
    correlationId: run.event.correlationId,
    startedAtMs: run.startedAtMs ?? createdAtMs,
    ...(endedAtMs === undefined ? {} : { endedAtMs }),
  };
}

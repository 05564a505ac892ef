/**
 * From a delivered activation to a run that may be driven: every activation is checked against Postgres and against the
 * journal's leader before the function is called, many at a time.
 */
import { messageOf } from '@ironflow/errors';
import type { ExecutorStore, RunState } from '@ironflow/database';
import { parseSubject, parseTraceparent } from '@ironflow/schema';
import type { Activation, ParsedSubject, TraceContext, Writer } from '@ironflow/schema';
import type { Delivery, Journal } from '@ironflow/jetstream';
import { createBatcher } from '@ironflow/service';
import type { Batcher, Logger, SpanRecorder } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';
import { createJournalWriter } from './journal-writer.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import { createClaimingWriter, createOutputStore } from './output-claims.js';
import type { OutputStore } from './output-claims.js';
import type { Lease, LeaseKeeper } from './lease.js';
import { assessReadiness, laneBuildOf, mayHaveBeenDriven, unrecordedCalls } from './run-position.js';
import type { RunPosition } from './run-position.js';
import { loadRuns } from './run-loader.js';
import type { LoadedRun } from './run-loader.js';
import { readActivation, runLogger } from './run-logger.js';
import type { StopRequest } from './stop-requests.js';

export interface IntakeOptions {
  executor: string;
  store: ExecutorStore;
  journal: Journal;
  leases: LeaseKeeper;
  isConnected: () => boolean;
  logger: Logger;
  metrics: ExecutorMetrics;
  spans: Pick<SpanRecorder, 'newSpanId'>;
  now: () => number;
}

export type Taken =
  | { kind: 'active'; run: ActiveRun }
  /** Nothing is left to do: the message has been answered, or is being driven here already. */
  | { kind: 'settled' };

export interface Intake {
  take(delivery: Delivery, stop: StopRequest): Promise<Taken>;
  /** Reads a run again whose activation goes on: another writer was there. `restarts` counts from 1. */
  retake(delivery: Delivery, stop: StopRequest, lease: Lease, restarts: number): Promise<Taken>;
  stop(): Promise<void>;
}

/** With what all activations share. */
type Ground = IntakeOptions & { outputs: OutputStore };

interface Item {
  delivery: Delivery;
  stop: StopRequest;
  lease: Lease;
  activation: Activation;
  writer: Writer;
  /** Its position is read no earlier. */
  readAtMs: number;
  /** For how long it had waited to be taken; not of what was taken before. */
  queuedMs: number | undefined;
}

const retryDelayMs = 500;

export function createIntake(given: IntakeOptions): Intake {
  const options = { ...given, outputs: createOutputStore(given.store) };
  const batcher: Batcher<Activation, LoadedRun> = createBatcher({
    maxItems: 500,
    maxConcurrent: 4,
    maxQueued: 20_000,
    run: (activations) => loadRuns(options, activations),
  });
  const retake: Intake['retake'] = async (delivery, stop, lease, restarts) => {
    const activation = readActivation(delivery);
    if (activation === undefined) {
      runLogger(options.logger, delivery).error('an activation cannot be read; it is removed');
      lease.discard();
      return { kind: 'settled' };
    }
    try {
      const writer = writerOf(options, delivery, restarts);
      const readAtMs = options.now();
      const isFirst = restarts === 0 && delivery.deliveryCount === 1;
      const queuedMs = isFirst ? Math.max(0, readAtMs - delivery.storedAtMs) : undefined;
      const item = { delivery, stop, lease, activation, writer, readAtMs, queuedMs };
      return admit(options, item, await batcher.add(activation));
    } catch (error) {
      return putOff(options, { delivery, lease }, { reason: messageOf(error), retryDelayMs });
    }
  };
  return {
    take: async (delivery, stop) => {
      const lease = options.leases.grant(delivery);
      return lease === undefined ? { kind: 'settled' } : retake(delivery, stop, lease, 0);
    },
    retake,
    stop: async () => {
      await batcher.stop();
      await options.outputs.stop();
    },
  };
}

/**
 * Every start has a name of its own, also one of a delivery that comes once more by a later connection. Message ids count from 1 again: alike, the first appends would pass for those of the
 * start before, and not be stored. And what a worker still sends of the start before must not pass for this one's.
 */
function writerOf({ executor }: IntakeOptions, delivery: Delivery, restarts: number): Writer {
  return {
    activation: delivery.sequence,
    delivery: delivery.deliveryCount,
    executor: `${executor}.${delivery.connectedSinceMs.toString(36)}${restarts === 0 ? '' : `.${restarts}`}`,
  };
}

function admit(options: Ground, item: Item, loaded: LoadedRun): Taken {
  const { lease, writer, delivery } = item;
  if (loaded.kind === 'unreadable') return putOff(options, item, loaded);
  // A run of another environment is none that this activation may name.
  const isKnown =
    loaded.kind === 'loaded' && loaded.state.scope.environmentId === item.activation.scope.environmentId;
  if (!isKnown) {
    runLogger(options.logger, delivery).warn('an activation names no run; it is removed');
    lease.finish();
    return { kind: 'settled' };
  }
  const { state, tail, last } = loaded;
  const readiness = assessReadiness(state, tail, writer);
  options.metrics.activations.add(1, { readiness: readiness.kind });
  if (readiness.kind === 'superseded') lease.abandon('superseded by a newer writer');
  if (readiness.kind === 'nothing_due') lease.finish();
  if (readiness.kind !== 'ready') return { kind: 'settled' };
  const subject = parseSubject(delivery.subject);
  if (isOfFormerLane(subject, readiness.position)) {
    lease.finish();
    return { kind: 'settled' };
  }
  if (item.queuedMs !== undefined && subject?.kind === 'activation') {
    const lane = subject.bulk === true ? 'bulk' : subject.mode;
    options.metrics.waitSeconds.record(item.queuedMs / 1_000, { lane });
  }
  // Whoever had it before may have an append under way still. The mark comes before the call: what is stored before it is
  // read again, what comes after it is refused, and so no step that is stored begins again.
  const wasDriven =
    mayHaveBeenDriven(delivery, options.now()) || last?.writer.activation === writer.activation;
  const calls = wasDriven ? unrecordedCalls(last, writer) : undefined;
  return { kind: 'active', run: activate(options, item, state, readiness.position, calls) };
}

/** It was pinned or unpinned since: on the lane that it has now, another activation is published. */
function isOfFormerLane(subject: ParsedSubject | undefined, position: RunPosition): boolean {
  return subject?.kind === 'activation' && subject.buildId !== laneBuildOf(position);
}

function putOff(
  options: IntakeOptions,
  { delivery, lease }: Pick<Item, 'delivery' | 'lease'>,
  { reason, retryDelayMs }: { reason: string; retryDelayMs: number },
): Taken {
  runLogger(options.logger, delivery).warn({ reason }, 'an activation cannot be checked now; it comes again');
  lease.handBack(retryDelayMs);
  return { kind: 'settled' };
}

function activate(
  options: Ground,
  { delivery, stop, lease, activation, writer, readAtMs, queuedMs }: Item,
  state: RunState,
  position: RunPosition,
  unrecordedCalls: number | undefined,
): ActiveRun {
  const { scope, runId } = activation;
  const activatedAtMs = options.now();
  const trace = activationTrace(options.spans, state.traceparent);
  const onBroken = (error: unknown): void =>
    runLogger(options.logger, delivery, state.traceparent).warn(
      { reason: messageOf(error) },
      'a journal cannot be written; the run is read again',
    );
  const entriesWriter = createJournalWriter({
    journal: options.journal,
    lease,
    scope,
    runId,
    functionId: state.functionId,
    writer,
    activatedAtMs,
    position,
    servedBefore: position.served,
    positionAgeMs: () => options.now() - readAtMs,
    traceparent: state.traceparent,
    acceptedSequence: () => acceptedSequence(options.store, runId),
    isConnected: options.isConnected,
    pause: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
    observe: (result, durationMs) => {
      options.metrics.appends.add(1, { result });
      if (result === 'appended') options.metrics.appendSeconds.record(durationMs / 1_000);
    },
    onBroken,
  });
  const journal = createClaimingWriter({
    writer: entriesWriter,
    environmentId: scope.environmentId,
    runId,
    outputs: options.outputs,
    lease,
    onBroken,
  });
  const run: ActiveRun = {
    runId,
    scope,
    appId: state.appId,
    buildId: position.pin?.buildId,
    isPinnable: isPinnable(position),
    functionId: state.functionId,
    writer,
    event: state.event,
    laterEvents: state.laterEvents,
    wake: state.wake,
    failures: position.failures,
    memo: position.memo,
    hasRegistered: false,
    stopping: position.stopping,
    isTooLate: state.startExpired && !position.begun,
    isLimited: state.limited,
    activeMs: position.activeMs,
    memoBytes: position.memoBytes,
    mismatch: position.mismatch,
    unrecordedCalls,
    callReported: false,
    registryVersion: state.registryVersion,
    stop,
    lease,
    journal,
    activatedAtMs,
    queuedMs,
    trace,
    traceparent: state.traceparent,
    causedBy: parseTraceparent(delivery.header('traceparent')),
  };
  if (state.stopRequested) stop.request();
  announceWhenSlow(run, position);
  return run;
}

/** One whose steps were taken over from another run has some before its journal begins. */
function isPinnable({ pin, memo, prev }: RunPosition): boolean {
  return pin === undefined && (memo.size === 0 || prev === 0);
}

/** A run whose first step takes long would show as queued all the while: its first sign of life says that it runs. */
function announceWhenSlow(run: ActiveRun, position: RunPosition): void {
  if (position.started) return;
  let announced = false;
  run.lease.onBeat(() => {
    if (announced || run.journal.hasAppended()) return;
    announced = true;
    void run.journal.append([{ type: 'run', run: { kind: 'started' } }]);
  });
}

async function acceptedSequence(store: ExecutorStore, runId: string): Promise<number> {
  const states = await store.loadRuns([runId]);
  return states.get(runId)?.journalSeq ?? 0;
}

function activationTrace(
  spans: IntakeOptions['spans'],
  traceparent: string | undefined,
): TraceContext | undefined {
  const context = parseTraceparent(traceparent);
  if (context === undefined || !context.sampled) return undefined;
  return { traceId: context.traceId, spanId: spans.newSpanId(), sampled: true };
}

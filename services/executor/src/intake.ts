/**
 * From a delivered activation to a run that may be driven: every activation is checked against Postgres and against the
 * journal's leader before the function is called, many at a time.
 */
import { randomBytes } from 'node:crypto';
import { messageOf } from '@ironflow/errors';
import type { ExecutorStore, RunState } from '@ironflow/database';
import { activationSchema, parseTraceparent } from '@ironflow/schema';
import type { Activation, TraceContext, Writer } from '@ironflow/schema';
import type { Delivery, Journal } from '@ironflow/jetstream';
import { createBatcher } from '@ironflow/service';
import type { Batcher, Logger } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';
import { createJournalWriter } from './journal-writer.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import type { Lease, LeaseKeeper } from './lease.js';
import { assessReadiness } from './run-position.js';
import type { JournalTail, RunPosition } from './run-position.js';

export interface IntakeOptions {
  executor: string;
  store: ExecutorStore;
  journal: Journal;
  leases: LeaseKeeper;
  isConnected: () => boolean;
  logger: Logger;
  metrics: ExecutorMetrics;
  now: () => number;
}

export type Taken =
  | { kind: 'active'; run: ActiveRun }
  /** Nothing is left to do; the message has been answered. */
  | { kind: 'settled' };

export interface Intake {
  take(delivery: Delivery): Promise<Taken>;
  /** Reads a run again whose activation goes on: another writer was there. `restarts` counts from 1. */
  retake(delivery: Delivery, lease: Lease, restarts: number): Promise<Taken>;
  stop(): Promise<void>;
}

interface Item {
  delivery: Delivery;
  lease: Lease;
  activation: Activation;
  writer: Writer;
}

interface Loaded {
  state: RunState | undefined;
  tail: JournalTail;
}

const retryDelayMs = 500;

export function createIntake(options: IntakeOptions): Intake {
  const batcher: Batcher<Item, Loaded> = createBatcher({
    maxItems: 500,
    maxConcurrent: 4,
    maxQueued: 20_000,
    run: (items) => loadAll(options, items),
  });
  const retake = async (delivery: Delivery, lease: Lease, restarts: number): Promise<Taken> => {
    const activation = parse(delivery);
    if (activation === undefined) {
      options.logger.error({ sequence: delivery.sequence }, 'an activation cannot be read; it is removed');
      delivery.term();
      lease.abandon('unreadable');
      return { kind: 'settled' };
    }
    try {
      const item = { delivery, lease, activation, writer: writerOf(options, delivery, restarts) };
      return admit(options, item, await batcher.add(item));
    } catch (error) {
      options.logger.warn(
        { reason: messageOf(error) },
        'an activation cannot be checked now; it comes again',
      );
      lease.handBack(retryDelayMs);
      return { kind: 'settled' };
    }
  };
  return {
    take: (delivery) => retake(delivery, options.leases.grant(delivery), 0),
    retake,
    stop: () => batcher.stop(),
  };
}

/**
 * Every start has a name of its own. Message ids count from 1 again: alike, the first appends would pass for those of the
 * start before, and not be stored. And what a worker still sends of the start before must not pass for this one's.
 */
function writerOf({ executor }: IntakeOptions, delivery: Delivery, restarts: number): Writer {
  return {
    activation: delivery.sequence,
    delivery: delivery.deliveryCount,
    executor: restarts === 0 ? executor : `${executor}.${restarts}`,
  };
}

function parse(delivery: Delivery): Activation | undefined {
  try {
    return activationSchema.parse(JSON.parse(delivery.text()));
  } catch {
    return undefined;
  }
}

async function loadAll(options: IntakeOptions, items: Item[]): Promise<Loaded[]> {
  const lasts = items.map(({ activation }) => options.journal.last(activation.scope, activation.runId));
  const [states, tails] = await Promise.all([
    options.store.loadRuns(items.map(({ activation }) => activation.runId)),
    Promise.all(lasts),
  ]);
  return Promise.all(
    items.map(async ({ activation }, index) => {
      const state = states.get(activation.runId);
      return { state, tail: await readTail(options, activation, state, tails[index]) };
    }),
  );
}

/** Both were read at once, so Postgres may be ahead of the tail that was seen: then the tail is read again. */
async function readTail(
  { journal }: IntakeOptions,
  { scope, runId }: Activation,
  state: RunState | undefined,
  seen: Awaited<ReturnType<Journal['last']>>,
): Promise<JournalTail> {
  const accepted = state?.journalSeq ?? 0;
  let last = seen;
  if ((last?.sequence ?? 0) < accepted) last = await journal.last(scope, runId);
  if (last === undefined || last.sequence <= accepted) {
    return { messages: [], lastSequence: last?.sequence ?? 0 };
  }
  const messages = last.message.prev === accepted ? [last] : await journal.after(scope, runId, accepted);
  return { messages, lastSequence: messages.at(-1)?.sequence ?? last.sequence };
}

function admit(options: IntakeOptions, item: Item, { state, tail }: Loaded): Taken {
  const { lease, writer } = item;
  // A run of another environment is none that this activation may name.
  if (state === undefined || state.scope.environmentId !== item.activation.scope.environmentId) {
    options.logger.warn({ runId: item.activation.runId }, 'an activation names no run; it is removed');
    lease.finish();
    return { kind: 'settled' };
  }
  const readiness = assessReadiness(state, tail, writer);
  options.metrics.activations.add(1, { readiness: readiness.kind });
  if (readiness.kind === 'superseded') lease.abandon('superseded by a newer writer');
  if (readiness.kind === 'nothing_due') lease.finish();
  if (readiness.kind !== 'ready') return { kind: 'settled' };
  return { kind: 'active', run: activate(options, item, state, readiness.position) };
}

function activate(
  options: IntakeOptions,
  { delivery, lease, activation, writer }: Item,
  state: RunState,
  position: RunPosition,
): ActiveRun {
  const { scope, runId } = activation;
  const activatedAtMs = options.now();
  const trace = activationTrace(state.traceparent);
  const journal = createJournalWriter({
    journal: options.journal,
    lease,
    scope,
    runId,
    functionId: state.functionId,
    writer,
    activatedAtMs,
    position,
    traceparent: state.traceparent,
    acceptedSequence: () => acceptedSequence(options.store, runId),
    isConnected: options.isConnected,
    pause: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
    observe: (result, durationMs) => {
      options.metrics.appends.add(1, { result });
      if (result === 'appended') options.metrics.appendSeconds.record(durationMs / 1_000);
    },
  });
  const run: ActiveRun = {
    runId,
    scope,
    appId: state.appId,
    functionId: state.functionId,
    writer,
    event: state.event,
    wake: state.wake,
    failures: position.failures,
    memo: position.memo,
    registryVersion: state.registryVersion,
    lease,
    journal,
    activatedAtMs,
    trace,
    causedBy: parseTraceparent(delivery.header('traceparent')),
  };
  announceWhenSlow(run, position);
  return run;
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

function activationTrace(traceparent: string | undefined): TraceContext | undefined {
  const context = parseTraceparent(traceparent);
  if (context === undefined || !context.sampled) return undefined;
  return { traceId: context.traceId, spanId: randomBytes(8).toString('hex'), sampled: true };
}

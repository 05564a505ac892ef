/**
 * Applies the journals of runs to Postgres. One batch is under way at a time and the next gathers meanwhile. What somebody
 * waits for is applied at once; records of steps linger for a moment, so that most runs move in one change instead of in
 * one for each step. Any number of collectors share the durable consumer: what keeps a run's
 * entries in order is its position in Postgres and not who delivers them.
 *
 * C1 A message is acknowledged after the commit that holds it and after its notice; until then it is kept alive.
 * C2 While Postgres is away nothing is dropped: the batch is tried again for as long as it takes.
 * C3 Only the collector whose statement ended a run writes its span and counts it.
 * C4 Nothing is applied from a stream that may have gone back before that was looked at (stream-recovery.ts).
 */
import { createCollectorStore } from '@ironflow/database';
import type { CollectorStore, Database } from '@ironflow/database';
import type { JetStream, PullConsumer } from '@ironflow/jetstream';
import { consumers } from '@ironflow/schema';
import { systemClock } from '@ironflow/service';
import type { Clock, Logger, Metrics, SpanRecorder, Stoppable, TimerHandle } from '@ironflow/service';
import { createAnnouncer } from './announcer.js';
import { createBatchRunner } from './batch-runner.js';
import { createCollectorMetrics } from './collector-metrics.js';
import { createDeadLetters } from './dead-letters.js';
import { createIntake } from './intake.js';
import { createStreamRecovery } from './stream-recovery.js';
import { createTrimmer } from './trimmer.js';

export interface ResultCollectorOptions {
  jetstream: JetStream;
  database: Database;
  /** What Postgres does for it; the database's own by default. */
  store?: CollectorStore;
  logger: Logger;
  metrics: Metrics;
  spans: SpanRecorder;
  clock?: Clock;
  /** Messages in hand at most. */
  outstandingMax: number;
  /** Messages in one batch at most. */
  batchMax: number;
  trimIntervalMs: number;
  /** How long the record of a step may wait for what follows it. */
  lingerMs: number;
}

export interface ResultCollector extends Stoppable {
  start(): Promise<void>;
}

/** Outputs within messages are up to 64 KiB each, those of older executors up to 512 KiB: bounds the memory of what is in hand, and the size of one statement. */
const heldBytesMax = 64 * 1024 * 1024;
const batchBytesMax = 8 * 1024 * 1024;

export function createResultCollector(options: ResultCollectorOptions): ResultCollector {
  const { jetstream, clock = systemClock } = options;
  const stopping = new AbortController();
  const { intake, runner, recovery, trimmer } = createParts(options, clock, stopping.signal);
  const batch = { messages: options.batchMax, bytes: batchBytesMax };
  let consumer: PullConsumer | undefined;
  let stopListening: (() => void) | undefined;
  let running: Promise<void> | undefined;

  let lingering: TimerHandle | undefined;

  const isDue = (): boolean => intake.dueInMs() === 0 || intake.waiting() >= options.batchMax;
  const wake = (): void => {
    const dueInMs = intake.dueInMs();
    if (running !== undefined || stopping.signal.aborted || dueInMs === undefined) return;
    if (isDue()) runNow();
    else lingering ??= clock.setTimeout(runNow, dueInMs);
  };
  const runNow = (): void => {
    lingering?.cancel();
    lingering = undefined;
    if (running !== undefined || stopping.signal.aborted) return;
    // One turn of the event loop lets what arrived together become one batch.
    running = nextTurn()
      .then(runDue)
      .finally(() => {
        running = undefined;
        wake();
      });
  };
  const runDue = async (): Promise<void> => {
    do {
      await recovery.settled();
      if (stopping.signal.aborted) return;
      await runner.run(intake.take(batch));
      consumer?.wake();
    } while (isDue() && !stopping.signal.aborted);
  };

  return {
    start: () => {
      const help = 'Journal messages in the stream that are not applied yet';
      options.metrics.gauge('results_lag', help, async () => {
        const { pending, ackPending } = await jetstream.states.consumer(consumers.resultCollector);
        return pending + ackPending;
      });
      recovery.suspect();
      stopListening = jetstream.connection.onReconnect(() => recovery.suspect());
      consumer = jetstream.consume(consumers.resultCollector, {
        capacity: () => intake.room(),
        onDelivery: (delivery) => {
          intake.add(delivery);
          wake();
        },
      });
      trimmer.start();
      return Promise.resolve();
    },
    stop: async () => {
      stopping.abort();
      lingering?.cancel();
      stopListening?.();
      consumer?.stop();
      await recovery.settled();
      await trimmer.stop();
      await running;
      intake.stop();
    },
  };
}

function createParts(options: ResultCollectorOptions, clock: Clock, stopping: AbortSignal) {
  const { jetstream, database, logger, spans } = options;
  const metrics = createCollectorMetrics(options.metrics);
  const { store = createCollectorStore(database) } = options;
  const base = { store, metrics, logger, clock, stopping };
  const runnerOptions = {
    ...base,
    journal: jetstream.journal,
    deadLetters: createDeadLetters({ ...base, publisher: jetstream.publisher }),
    announcer: createAnnouncer({ notices: jetstream.notices, spans, metrics }),
  };
  const { outstandingMax: messagesMax, lingerMs } = options;
  const intake = createIntake({ messagesMax, bytesMax: heldBytesMax, lingerMs, clock });
  return {
    intake,
    runner: createBatchRunner({ ...runnerOptions, intake }),
    recovery: createStreamRecovery({
      ...base,
      jetstream,
      database,
      batch: { messages: options.batchMax, bytes: batchBytesMax },
      createRunner: (own) => createBatchRunner({ ...runnerOptions, intake: own, wentBack: true }),
    }),
    trimmer: createTrimmer({ ...base, jetstream, database, intervalMs: options.trimIntervalMs }),
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

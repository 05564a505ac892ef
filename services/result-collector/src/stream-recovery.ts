/**
 * RESULTS that went back. A node that loses power may lose the latest messages, and the stream gives their sequences out
 * again; Postgres has positions from before. A new entry would then pass for one that is there already. So before a collector
 * takes anything from a stream that may be another than before, it looks whether that ends below the highest position:
 *
 * R1 What the stream has is applied along the chains, from its beginning, by a consumer of its own: the shared one may know
 *    messages of those sequences as acknowledged. One collector does it, by an advisory lock; the others wait.
 * R2 Then the stream is moved beyond the highest position, so that every sequence means one entry again. Until then, what
 *    others make of those entries does no harm: what they accept is there, what they pass over is applied here.
 */
import { randomBytes } from 'node:crypto';
import type { CollectorStore, Database } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { JetStream } from '@ironflow/jetstream';
import type { ConsumerDefinition } from '@ironflow/schema';
import type { Clock, Logger } from '@ironflow/service';
import type { BatchRunner } from './batch-runner.js';
import { createIntake } from './intake.js';
import type { Intake } from './intake.js';
import { pause } from './pause.js';

export interface StreamRecovery {
  /** The stream may be another than before. */
  suspect(): void;
  /** Resolves when the stream is known to be beyond every position, or when the service stops. */
  settled(): Promise<void>;
}

export interface StreamRecoveryOptions {
  jetstream: Pick<JetStream, 'consume' | 'journal' | 'provisioner' | 'states'>;
  database: Pick<Database, 'withAdvisoryLock'>;
  store: Pick<CollectorStore, 'highestJournalSequence'>;
  /** One that trusts chains and no positions. */
  createRunner: (intake: Intake) => BatchRunner;
  batch: { messages: number; bytes: number };
  logger: Logger;
  clock: Clock;
  stopping: AbortSignal;
}

const lockName = 'ironflow.recover_results';
const retryDelayMs = 200;
const pollDelayMs = 20;
const outstandingMax = 4_000;
const heldBytesMax = 64 * 1024 * 1024;
/** After it the server removes the consumer; every recovery has one of its own. */
const inactiveThresholdMs = 60_000;

export function createStreamRecovery(options: StreamRecoveryOptions): StreamRecovery {
  const { database, logger, clock, stopping } = options;
  let checked = Promise.resolve();

  const check = async (): Promise<void> => {
    while (!stopping.aborted) {
      try {
        const highest = await positionBeyondStream(options);
        if (highest === undefined) return;
        await database.withAdvisoryLock(lockName, () => recover(options));
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'RESULTS cannot be compared with PostgreSQL now');
      }
      await pause(clock, retryDelayMs, stopping);
    }
  };
  return {
    suspect: () => {
      checked = checked.then(check);
    },
    settled: () => checked,
  };
}

/** The highest position, if the stream does not come up to it. Read first: Postgres has nothing that was not stored before. */
async function positionBeyondStream({
  store,
  jetstream,
}: StreamRecoveryOptions): Promise<number | undefined> {
  const highest = await store.highestJournalSequence();
  const { lastSequence } = await jetstream.states.stream('RESULTS');
  return lastSequence < highest ? highest : undefined;
}

async function recover(options: StreamRecoveryOptions): Promise<void> {
  // Whoever had the lock before may have done it.
  const highest = await positionBeyondStream(options);
  if (highest === undefined) return;
  options.logger.error({ highest }, 'RESULTS has lost messages that PostgreSQL has; it is moved beyond them');
  if (await applyAll(options)) await options.jetstream.journal.advanceBeyond(highest);
}

/** Answers whether all of it is settled. */
async function applyAll(options: StreamRecoveryOptions): Promise<boolean> {
  const { jetstream, clock, stopping } = options;
  const definition: ConsumerDefinition = {
    stream: 'RESULTS',
    durable: `result-collector-recovery-${randomBytes(6).toString('hex')}`,
    maxAckPending: outstandingMax,
    inactiveThresholdMs,
  };
  await jetstream.provisioner.ensureConsumer(definition);
  const intake = createIntake({ messagesMax: outstandingMax, bytesMax: heldBytesMax, lingerMs: 0, clock });
  const runner = options.createRunner(intake);
  const consumer = jetstream.consume(definition, {
    capacity: () => intake.room(),
    onDelivery: (delivery) => intake.add(delivery),
  });
  try {
    while (!stopping.aborted) {
      while (intake.waiting() > 0) await runner.run(intake.take(options.batch));
      consumer.wake();
      const { pending, ackPending } = await jetstream.states.consumer(definition);
      if (pending + ackPending + intake.held() === 0) return true;
      await pause(clock, pollDelayMs, stopping);
    }
    return false;
  } finally {
    consumer.stop();
    intake.stop();
  }
}

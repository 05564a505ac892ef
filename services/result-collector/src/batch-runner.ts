/** Takes one batch from delivery to acknowledgement: accept, keep what cannot be accepted, tell, answer. */
import { IronflowError, messageOf } from '@ironflow/errors';
import type { CollectorStore } from '@ironflow/database';
import type { Journal } from '@ironflow/jetstream';
import type { Clock, Logger } from '@ironflow/service';
import { acceptBatch, createAcceptance } from './acceptance.js';
import type { Outcome } from './acceptance.js';
import type { Announcer } from './announcer.js';
import type { CollectorMetrics } from './collector-metrics.js';
import type { Casualty, DeadLetters } from './dead-letters.js';
import type { HeldMessage, Intake } from './intake.js';
import { pause } from './pause.js';
import { terminalEntryOf } from './progress.js';

export interface BatchRunner {
  /** Never rejects. Every message of the batch is answered afterwards. */
  run(batch: readonly HeldMessage[]): Promise<void>;
}

export interface BatchRunnerOptions {
  store: CollectorStore;
  journal: Pick<Journal, 'after'>;
  deadLetters: DeadLetters;
  announcer: Announcer;
  intake: Pick<Intake, 'release'>;
  metrics: CollectorMetrics;
  logger: Logger;
  clock: Clock;
  stopping: AbortSignal;
  wentBack?: boolean;
}

const retryDelayMsMin = 100;
const retryDelayMsMax = 1_000;
/** Other collectors are applying the same runs. */
const unsettledDelayMs = 250;
/** After an error that is neither the data's nor the connection's: the next batch will have another composition. */
const brokenBatchDelayMs = 1_000;

export function createBatchRunner(options: BatchRunnerOptions): BatchRunner {
  const { deadLetters, metrics, logger, clock, stopping } = options;
  const counters = bindOutcomes(metrics.messages);

  /** Tries for as long as Postgres is away; false after any other error, and when the service stops. */
  const persist = async (messages: number, work: () => Promise<void>): Promise<boolean> => {
    let delayMs = retryDelayMsMin;
    for (let attempt = 1; !stopping.aborted; attempt += 1) {
      try {
        await work();
        return true;
      } catch (error) {
        const isRetried = isTemporary(error);
        metrics.retries.add(1, { reason: isRetried ? 'unavailable' : 'failed' });
        if (attempt === 1) logger.warn({ err: error, messages }, 'a batch could not be applied');
        if (!isRetried) return false;
        await pause(clock, delayMs, stopping);
        delayMs = Math.min(delayMs * 2, retryDelayMsMax);
      }
    }
    return false;
  };

  const answer = (held: HeldMessage, outcome: FinalOutcome, isDone: boolean): void => {
    const isPutBack = outcome === 'unsettled' || !isDone;
    counters[isPutBack ? 'unsettled' : outcome].add();
    options.intake.release(held, (delivery) => {
      if (isPutBack) delivery.nak(isDone ? unsettledDelayMs : brokenBatchDelayMs);
      else delivery.ack();
    });
  };

  const keepCasualties = async (batch: readonly HeldMessage[], outcomes: Outcomes): Promise<void> => {
    await deadLetters.keep(batch.flatMap((held) => casualtyOf(held, outcomeOf(held, outcomes)) ?? []));
  };

  return {
    run: async (batch) => {
      const startedMs = performance.now();
      const placed = batch.flatMap((held) => (held.placed === undefined ? [] : [held.placed]));
      const acceptance = createAcceptance();
      const { outcomes } = acceptance;
      const isDone =
        (await persist(batch.length, () => acceptBatch(options, placed, acceptance))) &&
        (await persist(batch.length, () => keepCasualties(batch, outcomes)));
      // Also when it was not finished: what Postgres has accepted is to be known.
      options.announcer.announce(acceptance);
      for (const held of batch) answer(held, outcomeOf(held, outcomes), isDone);
      metrics.batchMessages.record(batch.length);
      metrics.batchSeconds.record((performance.now() - startedMs) / 1_000);
    },
  };
}

type FinalOutcome = Outcome | 'unreadable';
type Outcomes = ReadonlyMap<number, Outcome>;

function outcomeOf(held: HeldMessage, outcomes: Outcomes): FinalOutcome {
  return held.placed === undefined ? 'unreadable' : (outcomes.get(held.sequence) ?? 'unsettled');
}

/** One that was refused is kept before its run fails, which is where that is done. */
function casualtyOf(held: HeldMessage, outcome: FinalOutcome): Casualty | undefined {
  const lost = held.delivery;
  const message = held.placed?.message;
  if (outcome === 'unreadable' || outcome === 'without_run') return { lost, message, reason: outcome };
  if (outcome !== 'accepted' && outcome !== 'present') return undefined;
  const ending = message && terminalEntryOf(message);
  const isExhausted = ending?.kind === 'failed' && ending.error.name === 'delivery_exhausted';
  return isExhausted ? { lost, message, reason: 'delivery_exhausted' } : undefined;
}

const outcomeNames = [
  'accepted',
  'present',
  'branch',
  'after_end',
  'without_run',
  'refused',
  'unsettled',
  'unreadable',
] as const satisfies readonly FinalOutcome[];

function bindOutcomes(counter: CollectorMetrics['messages']) {
  const entries = outcomeNames.map((outcome) => [outcome, counter.bind({ outcome })] as const);
  return Object.fromEntries(entries) as Record<FinalOutcome, { add(value?: number): void }>;
}

/** Postgres or the journal cannot be reached, or two statements waited for each other. */
function isTemporary(error: unknown): boolean {
  if (error instanceof IronflowError) return error.category === 'unavailable';
  if (error instanceof Error && error.name === 'JournalUnreadableError') return true;
  return /deadlock detected|could not serialize|statement timeout/.test(messageOf(error));
}

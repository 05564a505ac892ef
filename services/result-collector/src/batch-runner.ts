/** Takes one batch from delivery to acknowledgement: accept, keep what cannot be accepted, tell, answer. */
import { IronflowError, messageOf } from '@ironflow/errors';
import type { CollectorStore } from '@ironflow/database';
import type { Journal } from '@ironflow/jetstream';
import type { Clock, Logger } from '@ironflow/service';
import { acceptBatch, createAcceptance } from './acceptance.js';
import type { Outcome } from './acceptance.js';
import type { Announcer } from './announcer.js';
import type { CollectorMetrics } from './collector-metrics.js';
import { deadLetterOf } from './dead-letters.js';
import type { Casualty, DeadLetters } from './dead-letters.js';
import type { HeldMessage, Intake } from './intake.js';

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
}

const retryDelayMsMin = 100;
const retryDelayMsMax = 1_000;
/** Other collectors are applying the same runs. */
const unsettledDelayMs = 250;
/** After an error that is neither the data's nor the connection's: the next batch will have another composition. */
const brokenBatchDelayMs = 1_000;

export function createBatchRunner(options: BatchRunnerOptions): BatchRunner {
  const { store, journal, deadLetters, metrics, logger, clock, stopping } = options;
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
    const letters = batch.flatMap((held) => {
      const cause = casualtyOf[outcomeOf(held, outcomes)];
      return cause === undefined ? [] : [deadLetterOf(casualty(held, cause), clock.now())];
    });
    if (letters.length === 0) return;
    await deadLetters.store(letters);
    for (const { reason, subject } of letters) {
      metrics.deadLetters.add(1, { reason });
      logger.error({ reason, subject }, 'a journal message became a dead letter');
    }
  };

  return {
    run: async (batch) => {
      const startedMs = performance.now();
      const placed = batch.flatMap((held) => (held.placed === undefined ? [] : [held.placed]));
      const acceptance = createAcceptance();
      const { outcomes } = acceptance;
      const isDone =
        (await persist(batch.length, () => acceptBatch({ store, journal }, placed, acceptance))) &&
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

type Cause = Pick<Casualty, 'reason' | 'detail'>;

const casualtyOf: Partial<Record<FinalOutcome, Cause>> = {
  unreadable: { reason: 'unreadable', detail: 'it is no journal message of this version' },
  without_run: { reason: 'without_run', detail: 'its run does not exist in its environment' },
  refused: { reason: 'refused_by_database', detail: 'its data cannot be stored; the run failed' },
};

function casualty(held: HeldMessage, cause: Cause): Casualty {
  const { subject, data } = held.delivery;
  const environmentId = held.placed?.message.environmentId;
  return { subject, data, sequence: held.sequence, environmentId, ...cause };
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

/** Ends early when the service stops. */
function pause(clock: Clock, delayMs: number, stopping: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      timer.cancel();
      stopping.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.setTimeout(end, delayMs);
    stopping.addEventListener('abort', end);
  });
}

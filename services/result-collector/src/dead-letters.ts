/**
 * Journal messages that cannot be applied, or that ended a run which kept failing its executors: kept in Postgres, then
 * published into DLQ as well as can be. An environment sees a letter whose body names it, if it is the one of the subject;
 * the others are the operator's.
 */
import { deadLetterMessage, deadLetterOf, parseSubject } from '@ironflow/schema';
import type { DeadLetter, JournalMessage, LostMessage } from '@ironflow/schema';
import type { CollectorStore } from '@ironflow/database';
import type { Publisher } from '@ironflow/jetstream';
import { childLogger, runContext } from '@ironflow/service';
import type { Clock, Logger } from '@ironflow/service';
import type { CollectorMetrics } from './collector-metrics.js';

export interface Casualty {
  lost: LostMessage;
  /** What it says, if it can be read. */
  message: JournalMessage | undefined;
  reason: DeadLetter['reason'];
}

export interface DeadLetters {
  /** Resolves when Postgres has them; each is kept once, however often it comes. */
  keep(casualties: readonly Casualty[]): Promise<void>;
}

export interface DeadLettersOptions {
  store: Pick<CollectorStore, 'scopes' | 'storeDeadLetters'>;
  publisher: Publisher;
  metrics: Pick<CollectorMetrics, 'deadLetters'>;
  logger: Logger;
  clock: Clock;
}

const details: Record<DeadLetter['reason'], string> = {
  unreadable: 'it is no journal message of this version',
  without_run: 'its run does not exist in its environment',
  refused_by_database: 'its data cannot be stored; the run failed',
  delivery_exhausted: 'executors kept failing while they drove its run; the run failed',
};

export function createDeadLetters(options: DeadLettersOptions): DeadLetters {
  const { store, publisher, metrics, logger, clock } = options;
  /** A body may name any id: only what Postgres says of it counts. */
  const environmentsOf = async (casualties: readonly Casualty[]): Promise<(string | undefined)[]> => {
    const named = casualties.flatMap(({ message }) => message?.environmentId ?? []);
    const scopes = await store.scopes([...new Set(named)]);
    return casualties.map(({ lost, message }) => {
      const scope = message && scopes.get(message.environmentId);
      const place = parseSubject(lost.subject);
      const isOfSubject = scope?.project === place?.project && scope?.env === place?.env;
      return isOfSubject ? scope?.environmentId : undefined;
    });
  };
  return {
    keep: async (casualties) => {
      if (casualties.length === 0) return;
      const environmentIds = await environmentsOf(casualties);
      const nowMs = clock.now();
      const letters = casualties.map(({ lost, reason }, index) =>
        deadLetterOf(lost, { reason, detail: details[reason], environmentId: environmentIds[index], nowMs }),
      );
      await store.storeDeadLetters(letters);
      // Postgres has them: a stream that refuses one takes nothing away.
      const messages = letters.flatMap((letter) => deadLetterMessage(letter) ?? []);
      await Promise.allSettled(messages.map((message) => publisher.publish(message)));
      for (const { reason, subject } of letters) {
        metrics.deadLetters.add(1, { reason });
        const fields = { reason, subject };
        loggerOf(logger, subject).error(fields, 'a journal message became a dead letter');
      }
    },
  };
}

function loggerOf(logger: Logger, subject: string): Logger {
  const parsed = parseSubject(subject);
  if (parsed?.kind !== 'journal') return logger;
  return childLogger(logger, runContext({ runId: parsed.runId, scope: parsed }));
}

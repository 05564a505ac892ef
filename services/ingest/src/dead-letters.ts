/**
 * Messages of INGEST that cannot be events: kept in Postgres, all of each, and published into DLQ, without its payload if
 * that is too large there. Its environment sees a letter; one that does not name the environment of its subject has none
 * and is for the platform alone: below its own subjects a tenant writes what it likes, also a neighbour's id.
 */
import { z } from 'zod';
import type { IngestStore } from '@ironflow/database';
import type { Delivery, Publisher } from '@ironflow/jetstream';
import { deadLetterMessage, deadLetterOf, parseSubject, uuidSchema } from '@ironflow/schema';
import type { DeadLetter, ParsedSubject } from '@ironflow/schema';

export interface DeadLettersOptions {
  store: Pick<IngestStore, 'scopeOf' | 'storeDeadLetter'>;
  publisher: Publisher;
}

export interface DeadLetters {
  /** Rejects when Postgres is away. `environmentId`: of the subject, where that is what counts. */
  keep(
    delivery: Delivery,
    reason: { rule: string; nowMs: number; environmentId?: string | undefined },
  ): Promise<void>;
}

type Place = Extract<ParsedSubject, { kind: 'ingest' | 'event' }>;

export function createDeadLetters({ store, publisher }: DeadLettersOptions): DeadLetters {
  /** Only if it is the environment of the subject. */
  async function environmentOf(delivery: Delivery, place: Place): Promise<string | undefined> {
    const environmentId = namedEnvironment(delivery.text());
    const scope = environmentId === undefined ? undefined : await store.scopeOf(environmentId);
    return scope?.project === place.project && scope.env === place.env ? environmentId : undefined;
  }

  async function publish(letter: DeadLetter): Promise<void> {
    const message = deadLetterMessage(letter);
    if (message !== undefined) await publisher.publish(message);
  }

  return {
    keep: async (delivery, { rule, nowMs, environmentId: known }) => {
      const place = parseSubject(delivery.subject);
      // Not even its subject is one of ours.
      const environmentId =
        known ?? (place?.kind === 'ingest' ? await environmentOf(delivery, place) : undefined);
      const letter = deadLetterOf(delivery, { reason: 'unreadable', detail: rule, environmentId, nowMs });
      await store.storeDeadLetter(letter);
      // Postgres has it: a stream that refuses it takes nothing away.
      await publish(letter).catch(() => undefined);
    },
  };
}

const namingEnvironmentSchema = z.object({ environmentId: uuidSchema });

function namedEnvironment(text: string): string | undefined {
  try {
    return namingEnvironmentSchema.parse(JSON.parse(text)).environmentId;
  } catch {
    return undefined;
  }
}

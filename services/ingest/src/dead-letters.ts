/**
 * Messages of INGEST that cannot be events: kept in Postgres, where their environment sees them, and published into DLQ. One
 * that does not name the environment of its subject is in DLQ alone: below its own subjects a tenant writes what it likes,
 * also a neighbour's id.
 */
import { z } from 'zod';
import type { IngestStore } from '@ironflow/database';
import type { Delivery, Publisher } from '@ironflow/jetstream';
import { deadLetterMessage, deadLetterOf, parseSubject, uuidSchema } from '@ironflow/schema';
import type { DeadLetter, ParsedSubject } from '@ironflow/schema';

export interface DeadLettersOptions {
  store: Pick<IngestStore, 'scopeOf' | 'storeDeadLetters'>;
  publisher: Publisher;
}

export interface DeadLetters {
  /** Answers whether it is kept somewhere; rejects when Postgres is away. */
  keep(delivery: Delivery, reason: { rule: string; nowMs: number }): Promise<boolean>;
}

type Place = Extract<ParsedSubject, { kind: 'ingest' | 'event' }>;

export function createDeadLetters({ store, publisher }: DeadLettersOptions): DeadLetters {
  /** Only if it is the environment of the subject. */
  async function environmentOf(delivery: Delivery, place: Place): Promise<string | undefined> {
    const environmentId = namedEnvironment(delivery.text());
    const scope = environmentId === undefined ? undefined : await store.scopeOf(environmentId);
    return scope?.project === place.project && scope.env === place.env ? environmentId : undefined;
  }

  async function publish(letter: DeadLetter): Promise<boolean> {
    const message = deadLetterMessage(letter);
    return message !== undefined && (await publisher.publish(message)).kind === 'stored';
  }

  return {
    keep: async (delivery, { rule, nowMs }) => {
      const place = parseSubject(delivery.subject);
      // Not even its subject is one of ours: there is nowhere to keep it.
      if (place?.kind !== 'ingest') return true;
      const environmentId = await environmentOf(delivery, place);
      const letter = deadLetterOf(delivery, { reason: 'unreadable', detail: rule, environmentId, nowMs });
      if (environmentId === undefined) return publish(letter);
      await store.storeDeadLetters(environmentId, [letter]);
      // Postgres has it: a stream that refuses it takes nothing away.
      await publish(letter).catch(() => false);
      return true;
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

/**
 * Messages of EVENTS that are no events: kept in Postgres, then published into DLQ as well as can be. The environment sees
 * a letter whose body names it, if it is the one of the subject; the others are the operator's.
 */
import type { SchedulerStore } from '@ironflow/database';
import type { Delivery, Publisher } from '@ironflow/jetstream';
import { deadLetterMessage, deadLetterOf, parseSubject, uuidSchema } from '@ironflow/schema';
import { z } from 'zod';

export interface DeadLetters {
  /** Rejects when Postgres does not have it. */
  keep(delivery: Delivery, nowMs: number): Promise<void>;
}

export interface DeadLettersOptions {
  store: Pick<SchedulerStore, 'scopes' | 'storeDeadLetters'>;
  publisher: Publisher;
}

export function createDeadLetters({ store, publisher }: DeadLettersOptions): DeadLetters {
  /** A body may name any id: only what Postgres says of it counts. */
  const environmentOf = async (delivery: Delivery): Promise<string | undefined> => {
    const environmentId = namedEnvironment(delivery.text());
    const place = parseSubject(delivery.subject);
    if (environmentId === undefined || place === undefined) return undefined;
    const scope = (await store.scopes([environmentId])).get(environmentId);
    return scope?.project === place.project && scope.env === place.env ? environmentId : undefined;
  };
  return {
    keep: async (delivery, nowMs) => {
      const letter = deadLetterOf(delivery, {
        reason: 'unreadable',
        detail: `message ${delivery.sequence} of EVENTS is no stored event of its subject's place`,
        environmentId: await environmentOf(delivery),
        nowMs,
      });
      await store.storeDeadLetters([letter]);
      const message = deadLetterMessage(letter);
      // Postgres has it: a stream that refuses it takes nothing away.
      if (message !== undefined) await publisher.publish(message).catch(() => undefined);
    },
  };
}

const namingEnvironmentSchema = z.object({ scope: z.object({ environmentId: uuidSchema }) });

function namedEnvironment(text: string): string | undefined {
  try {
    return namingEnvironmentSchema.parse(JSON.parse(text)).scope.environmentId;
  } catch {
    return undefined;
  }
}

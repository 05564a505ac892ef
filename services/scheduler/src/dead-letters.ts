/**
 * Messages of EVENTS that are no events: kept in Postgres, then published into DLQ as well as can be. The environment sees
 * a letter whose body says one of the place that its subject names; the others are the operator's.
 */
import type { SchedulerStore } from '@ironflow/database';
import type { Delivery, Publisher } from '@ironflow/jetstream';
import { deadLetterMessage, deadLetterOf, parseSubject, scopeSchema } from '@ironflow/schema';
import { z } from 'zod';

export interface DeadLetters {
  /** Rejects when Postgres does not have it. */
  keep(delivery: Delivery, nowMs: number): Promise<void>;
}

export interface DeadLettersOptions {
  store: Pick<SchedulerStore, 'storeDeadLetters'>;
  publisher: Publisher;
}

export function createDeadLetters({ store, publisher }: DeadLettersOptions): DeadLetters {
  return {
    keep: async (delivery, nowMs) => {
      const letter = deadLetterOf(delivery, {
        reason: 'unreadable',
        detail: `message ${delivery.sequence} of EVENTS is no stored event of its subject's place`,
        environmentId: environmentOf(delivery),
        nowMs,
      });
      await store.storeDeadLetters([letter]);
      const message = deadLetterMessage(letter);
      // Postgres has it: a stream that refuses it takes nothing away.
      if (message !== undefined) await publisher.publish(message).catch(() => undefined);
    },
  };
}

const scopedSchema = z.object({ scope: scopeSchema });

function environmentOf(delivery: Delivery): string | undefined {
  const place = parseSubject(delivery.subject);
  if (place?.kind !== 'event') return undefined;
  const scope = scopeIn(delivery.text());
  const isConsistent = scope?.project === place.project && scope.env === place.env;
  return isConsistent ? scope.environmentId : undefined;
}

function scopeIn(text: string): z.infer<typeof scopeSchema> | undefined {
  try {
    return scopedSchema.parse(JSON.parse(text)).scope;
  } catch {
    return undefined;
  }
}

/**
 * Messages of INGEST that cannot be events: kept in Postgres, where their environment sees them, and published into DLQ. One
 * that does not name the environment of its subject is in DLQ alone: below its own subjects a tenant writes what it likes,
 * also a neighbour's id.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { IngestStore } from '@ironflow/database';
import type { Delivery, Publisher } from '@ironflow/jetstream';
import { createId, parseSubject, subjects, uuidSchema } from '@ironflow/schema';
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

/** In base64 it stays below what NATS takes as one message. Postgres has all of it. */
const publishedPayloadBytesMax = 512 * 1024;

export function createDeadLetters({ store, publisher }: DeadLettersOptions): DeadLetters {
  /** Only if it is the environment of the subject. */
  async function environmentOf(delivery: Delivery, place: Place): Promise<string | undefined> {
    const environmentId = namedEnvironment(delivery.text());
    const scope = environmentId === undefined ? undefined : await store.scopeOf(environmentId);
    return scope?.project === place.project && scope.env === place.env ? environmentId : undefined;
  }

  async function publish(letter: DeadLetter, delivery: Delivery, place: Place): Promise<boolean> {
    const fits = delivery.data.length <= publishedPayloadBytesMax;
    const result = await publisher.publish({
      subject: subjects.deadLetter(place, `ingest.${place.eventName}`),
      data: JSON.stringify(fits ? letter : { ...letter, payload: '' }),
      messageId: `${letter.environmentId ?? 'unknown'}.${letter.id}`,
    });
    return result.kind === 'stored';
  }

  return {
    keep: async (delivery, reason) => {
      const place = parseSubject(delivery.subject);
      // Not even its subject is one of ours: there is nowhere to keep it.
      if (place?.kind !== 'ingest') return true;
      const environmentId = await environmentOf(delivery, place);
      const letter = deadLetterOf(delivery, { ...reason, environmentId });
      if (environmentId === undefined) return publish(letter, delivery, place);
      await store.storeDeadLetters(environmentId, [letter]);
      // Postgres has it: a stream that refuses it takes nothing away.
      await publish(letter, delivery, place).catch(() => false);
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

interface Reason {
  rule: string;
  nowMs: number;
  environmentId: string | undefined;
}

/** Its id derives from its message, so that a redelivery makes the same one. */
function deadLetterOf(delivery: Delivery, { rule, nowMs, environmentId }: Reason): DeadLetter {
  const { subject, sequence, storedAtMs, data } = delivery;
  const digest = createHash('sha256').update(`${subject}\n${sequence}\n${storedAtMs}`).digest();
  return {
    id: createId(storedAtMs, digest),
    ...(environmentId === undefined ? {} : { environmentId }),
    subject,
    reason: 'unreadable',
    detail: rule,
    payload: Buffer.from(data).toString('base64'),
    occurredAtMs: nowMs,
  };
}

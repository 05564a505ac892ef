/**
 * Journal messages that cannot be applied: kept in Postgres and published into DLQ. A dead letter's id derives from its
 * message, so that a redelivery makes the same one.
 */
import { createHash } from 'node:crypto';
import { createId, deadLetterSchema, parseSubject, subjects } from '@ironflow/schema';
import type { DeadLetter } from '@ironflow/schema';
import type { CollectorStore } from '@ironflow/database';
import type { Publisher } from '@ironflow/jetstream';

export interface DeadLetters {
  /** Resolves when Postgres has them. */
  store(letters: readonly DeadLetter[]): Promise<void>;
}

export interface Casualty {
  subject: string;
  sequence: number;
  data: Uint8Array;
  environmentId?: string | undefined;
  reason: DeadLetter['reason'];
  detail: string;
}

export function deadLetterOf(casualty: Casualty, nowMs: number): DeadLetter {
  const { subject, sequence, reason, detail, environmentId } = casualty;
  const digest = createHash('sha256').update(`${subject}\n${sequence}`).digest();
  return {
    // Sequences of RESULTS are microseconds since 1970, more or less: the letter sorts by when its message was stored.
    id: createId(sequence / 1_000, digest),
    ...(environmentId === undefined ? {} : { environmentId }),
    subject,
    reason,
    detail,
    payload: Buffer.from(casualty.data).toString('base64'),
    occurredAtMs: nowMs,
  };
}

export function createDeadLetters(options: { store: CollectorStore; publisher: Publisher }): DeadLetters {
  return {
    store: async (letters) => {
      if (letters.length === 0) return;
      await options.store.storeDeadLetters(letters);
      // Postgres has them: a stream that refuses one takes nothing away.
      await Promise.allSettled(letters.map((letter) => publish(options.publisher, letter)));
    },
  };
}

async function publish(publisher: Publisher, letter: DeadLetter): Promise<void> {
  const parsed = parseSubject(letter.subject);
  if (parsed?.kind !== 'journal') return;
  await publisher.publish({
    subject: subjects.deadLetter(parsed, `results.${parsed.runId}.${parsed.last}`),
    data: JSON.stringify(deadLetterSchema.parse(letter)),
    messageId: `${letter.environmentId ?? 'unknown'}.${letter.id}`,
  });
}

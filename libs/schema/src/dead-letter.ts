/** What could not be processed, why, and everything needed to try it again. */
import { z } from 'zod';
import { uuidSchema } from './identifiers.js';
import { deriveDeadLetterId } from './ids.js';
import { parseSubject, subjects } from './subjects.js';
import type { ParsedSubject } from './subjects.js';

export const deadLetterReasons = [
  'unreadable',
  'without_run',
  'refused_by_database',
  'delivery_exhausted',
] as const;

/** A failed run leaves a letter in Postgres alone: it names the run, and there is no message that was lost. */
export const storedLetterReasons = ['run_failed', ...deadLetterReasons] as const;

export const deadLetterSchema = z.object({
  id: uuidSchema,
  environmentId: uuidSchema.optional(),
  subject: z.string(),
  reason: z.enum(deadLetterReasons),
  detail: z.string(),
  /** The original message, base64. */
  payload: z.string(),
  occurredAtMs: z.number(),
});
export type DeadLetter = z.infer<typeof deadLetterSchema>;

/** A message as its stream has it. */
export interface LostMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly sequence: number;
  readonly storedAtMs: number;
}

export type DeadLetterCause = Pick<DeadLetter, 'reason' | 'detail'> & {
  /** Only if it is certain: its environment sees the letter. */
  environmentId?: string | undefined;
  nowMs: number;
};

/** The same message makes a letter of the same id. */
export function deadLetterOf(message: LostMessage, cause: DeadLetterCause): DeadLetter {
  const { environmentId, reason, detail, nowMs } = cause;
  return {
    id: deriveDeadLetterId(message),
    ...(environmentId === undefined ? {} : { environmentId }),
    subject: message.subject,
    reason,
    detail,
    payload: Buffer.from(message.data).toString('base64'),
    occurredAtMs: nowMs,
  };
}

/** With the rest of the letter below what NATS takes as one message. Postgres has all of it. */
const publishedPayloadLengthMax = 700_000;

/** The letter as DLQ takes it; `undefined` where its subject says no place of ours. */
export function deadLetterMessage(
  letter: DeadLetter,
): { subject: string; data: string; messageId: string } | undefined {
  const place = parseSubject(letter.subject);
  const tail = tailOf(place);
  if (place === undefined || tail === undefined) return undefined;
  const fits = letter.payload.length <= publishedPayloadLengthMax;
  return {
    subject: subjects.deadLetter(place, tail),
    data: JSON.stringify(fits ? letter : { ...letter, payload: '' }),
    messageId: `${letter.environmentId ?? 'unknown'}.${letter.id}`,
  };
}

function tailOf(place: ParsedSubject | undefined): string | undefined {
  switch (place?.kind) {
    case 'ingest':
      return `ingest.${place.eventName}`;
    case 'event':
      return `events.${place.eventName}`;
    case 'journal':
      return `results.${place.runId}.${place.last}`;
    default:
      return undefined;
  }
}

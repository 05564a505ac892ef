/**
 * The audit log of an environment: its entries, and how whoever has them checks that they are those that were written. Pure.
 *
 * An entry's `hash` is the SHA-256, in hex, of its RFC 8785 canonical JSON (JSON Canonicalization Scheme) without `hash`, in UTF-8; what is
 * absent is left out. `previousHash` is among what is hashed, so that each entry vouches for all before it, as in a Merkle–Damgård
 * chain; that of the first one is `auditGenesis`. Postgres writes the same text in `audit_entry_text`.
 */
import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { z } from 'zod';
import { uuidSchema } from './identifiers.js';
import { limits } from './limits.js';
import { pageQuery } from './resources.js';

export const auditActorKinds = ['key', 'operator', 'link', 'system'] as const;
export type AuditActorKind = (typeof auditActorKinds)[number];
export const auditOutcomes = ['done', 'refused'] as const;
export type AuditOutcome = (typeof auditOutcomes)[number];

const hashSchema = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits');

/** `previousHash` of the first entry. */
export const auditGenesis = '0'.repeat(64);

export const auditEntrySchema = z.object({
  environmentId: uuidSchema,
  sequence: z.number().int().positive().describe('from 1, without gaps'),
  occurredAt: z.iso.datetime(),
  actor: z.object({ kind: z.enum(auditActorKinds), id: z.string().describe('of a key or a link its id') }),
  action: z.string().describe('such as `run.cancel`; of a refused request without one its method and route'),
  target: z.object({
    kind: z.string().describe('the word of the path, such as `runs`'),
    id: z.string().optional(),
  }),
  address: z.string().optional().describe('where the request came from'),
  requestId: z.string().optional(),
  outcome: z.enum(auditOutcomes),
  code: z.string().optional().describe('of the error, where it was refused'),
  count: z.number().int().positive().describe('how many requests; refused ones are gathered for a minute'),
  details: z
    .record(z.string(), z.unknown())
    .describe('names of the fields that were sent, counts and ids; no values'),
  previousHash: hashSchema,
  hash: hashSchema.describe('SHA-256 of the RFC 8785 canonical JSON of everything else here'),
});
export type AuditEntry = z.infer<typeof auditEntrySchema>;

export const auditQuerySchema = z.strictObject({
  limit: pageQuery.limit,
  cursor: pageQuery.cursor,
  from: z.iso.datetime().optional().describe('occurred at or after'),
  to: z.iso.datetime().optional().describe('occurred before'),
  action: z.string().max(256).optional(),
  actor: z.string().max(256).optional().describe('the id of a key, an operator or a link'),
  outcome: z.enum(auditOutcomes).optional(),
  order: z.enum(['newest', 'oldest']).default('newest').describe('which comes first'),
});
export type AuditQuery = z.infer<typeof auditQuerySchema>;

export const auditPageSchema = z.object({
  entries: z.array(auditEntrySchema),
  nextCursor: z.string().optional(),
});
export type AuditPage = z.infer<typeof auditPageSchema>;

export const auditBreaks = ['altered', 'missing', 'unlinked'] as const;

export const auditVerdictSchema = z.object({
  ok: z.boolean(),
  entries: z.number().int().describe('that are in order, from the first on'),
  head: hashSchema.describe(
    'of the last of them: keep it, since only against it is a log seen to be cut short',
  ),
  firstBroken: z
    .object({
      sequence: z.number().int(),
      reason: z
        .enum(auditBreaks)
        .describe('its hash is not that of its content; it is not there; it does not follow the one before'),
    })
    .optional(),
});
export type AuditVerdict = z.infer<typeof auditVerdictSchema>;

/** What is hashed. */
export function auditEntryText({ hash: _, ...rest }: AuditEntry): string {
  return canonicalize(rest)!;
}

/** Kept as it was hashed. */
export function auditDetailsText(details: AuditEntry['details']): string {
  return canonicalize(details)!;
}

export function auditHash(entry: AuditEntry): string {
  return createHash('sha256').update(auditEntryText(entry)).digest('hex');
}

/** Of no entries: what `checkAuditEntries` begins with. */
export const noAuditEntries: AuditVerdict = { ok: true, entries: 0, head: auditGenesis };

/** `entries` are those that come next, the oldest first. Goes no further than the first that is broken. */
export function checkAuditEntries(verdict: AuditVerdict, entries: readonly AuditEntry[]): AuditVerdict {
  let { entries: count, head } = verdict;
  if (!verdict.ok) return verdict;
  for (const entry of entries) {
    const sequence = count + 1;
    const reason = breakOf(entry, { sequence, previousHash: head });
    if (reason !== undefined) return { ok: false, entries: count, head, firstBroken: { sequence, reason } };
    count = sequence;
    head = entry.hash;
  }
  return { ok: true, entries: count, head };
}

function breakOf(
  entry: AuditEntry,
  expected: Pick<AuditEntry, 'sequence' | 'previousHash'>,
): (typeof auditBreaks)[number] | undefined {
  if (entry.sequence !== expected.sequence) return 'missing';
  if (auditHash(entry) !== entry.hash) return 'altered';
  return entry.previousHash === expected.previousHash ? undefined : 'unlinked';
}

/** Of everything that was listed, against where the log is said to end: what is missing at its end is seen only so. */
export function checkAuditEnd(
  verdict: AuditVerdict,
  end: { sequence: number; hash: string } | undefined,
): AuditVerdict {
  if (!verdict.ok || end === undefined) return verdict;
  const { entries, head } = verdict;
  if (entries < end.sequence) {
    return { ...verdict, ok: false, firstBroken: { sequence: entries + 1, reason: 'missing' } };
  }
  if (head === end.hash) return verdict;
  return { ...verdict, ok: false, firstBroken: { sequence: end.sequence, reason: 'unlinked' } };
}

/** Names of what a body has, as far as its route knows them: values, and names that are the caller's own, are not for the log. */
export function auditedFields(schema: z.ZodType | undefined, body: unknown): string[] {
  if (typeof body !== 'object' || body === null) return [];
  const shape = shapeOf(schema);
  return Object.keys(body)
    .filter((name) => Object.hasOwn(shape, name))
    .slice(0, limits.auditedFieldsMax)
    .sort();
}

/** Of an object, whatever is around it. */
function shapeOf(schema: unknown): Record<string, unknown> {
  if (schema instanceof z.ZodObject) return schema.shape;
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodDefault) {
    return shapeOf(schema.unwrap());
  }
  return {};
}

/**
 * The audit log in Postgres: added to by the one function that may (`append_audit_entry`), read in pages, and verified a batch at a
 * time by the hashes of libs/schema/src/audit.ts. Everything within one environment.
 */
import { IronflowError } from '@ironflow/errors';
import {
  auditDetailsText,
  auditGenesis,
  checkAuditEnd,
  checkAuditEntries,
  noAuditEntries,
} from '@ironflow/schema';
import type { AuditEntry, AuditPage, AuditQuery, AuditVerdict } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';

/** What there is to tell; its place, time and hash are Postgres'. */
export type NewAuditEntry = Omit<
  AuditEntry,
  'environmentId' | 'sequence' | 'occurredAt' | 'previousHash' | 'hash'
>;

export interface AuditStore {
  /** Answers the entry's sequence. In turn with everybody else who adds to the environment's log. */
  append(environmentId: string, entry: NewAuditEntry): Promise<number>;
  list(environmentId: string, query: AuditQuery): Promise<AuditPage>;
  /** Of all entries as the log is now. */
  verify(environmentId: string): Promise<AuditVerdict>;
}

export function createAuditStore(database: Pick<Database, 'inEnvironment'>): AuditStore {
  return {
    append: (environmentId, entry) =>
      database.inEnvironment(environmentId, (transaction) => append(transaction, entry)),
    list: async (environmentId, query) => {
      const rows = await database.inEnvironment(environmentId, (transaction) =>
        transaction.query<EntryRow>(listStatement(query.order), listValues(environmentId, query)),
      );
      const entries = rows.slice(0, query.limit).map(toEntry);
      const more = rows.length > query.limit ? { nextCursor: String(entries.at(-1)!.sequence) } : {};
      return { entries, ...more };
    },
    verify: (environmentId) => verify(database, environmentId),
  };
}

async function append(transaction: Queryable, entry: NewAuditEntry): Promise<number> {
  const [row] = await transaction.query<{ sequence: string }>(appendStatement, [
    entry.actor.kind,
    entry.actor.id,
    entry.action,
    entry.target.kind,
    entry.target.id ?? null,
    entry.address ?? null,
    entry.requestId ?? null,
    entry.outcome,
    entry.code ?? null,
    entry.count,
    auditDetailsText(entry.details),
  ]);
  return Number(row!.sequence);
}

const verifiedTogether = 1_000;

/** Up to where the log ends as this begins: what comes meanwhile is for the next time. */
async function verify(
  database: Pick<Database, 'inEnvironment'>,
  environmentId: string,
): Promise<AuditVerdict> {
  const end = await database.inEnvironment(environmentId, async (transaction) => {
    const [row] = await transaction.query<HeadRow>(headStatement, [environmentId]);
    return row === undefined
      ? { sequence: 0, hash: auditGenesis }
      : { sequence: Number(row.sequence), hash: row.hash.toString('hex') };
  });
  let verdict = noAuditEntries;
  while (verdict.ok) {
    const batch = await database.inEnvironment(environmentId, (transaction) =>
      transaction.query<EntryRow>(batchStatement, [
        environmentId,
        verdict.entries,
        end.sequence,
        verifiedTogether,
      ]),
    );
    if (batch.length === 0) break;
    verdict = checkAuditEntries(verdict, batch.map(toEntry));
  }
  return checkAuditEnd(verdict, end);
}

interface HeadRow {
  sequence: string;
  hash: Buffer;
}

interface EntryRow {
  environment_id: string;
  sequence: string;
  occurred_at: Date;
  actor_kind: AuditEntry['actor']['kind'];
  actor_id: string;
  action: string;
  target_kind: string;
  target_id: string | null;
  address: string | null;
  request_id: string | null;
  outcome: AuditEntry['outcome'];
  code: string | null;
  count: number;
  details: Record<string, unknown>;
  previous_hash: Buffer;
  hash: Buffer;
}

function toEntry(row: EntryRow): AuditEntry {
  return {
    environmentId: row.environment_id,
    sequence: Number(row.sequence),
    occurredAt: row.occurred_at.toISOString(),
    actor: { kind: row.actor_kind, id: row.actor_id },
    action: row.action,
    target: { kind: row.target_kind, ...(row.target_id === null ? {} : { id: row.target_id }) },
    ...(row.address === null ? {} : { address: row.address }),
    ...(row.request_id === null ? {} : { requestId: row.request_id }),
    outcome: row.outcome,
    ...(row.code === null ? {} : { code: row.code }),
    count: row.count,
    details: row.details,
    previousHash: row.previous_hash.toString('hex'),
    hash: row.hash.toString('hex'),
  };
}

/** Values of the filters, absent ones as null, and the cursor as the sequence beyond which the page begins. */
function listValues(environmentId: string, query: AuditQuery): unknown[] {
  const { cursor, action, actor, outcome, from, to, limit } = query;
  if (cursor !== undefined && !/^[1-9]\d{0,14}$/.test(cursor)) {
    const rule = 'the cursor must be the `nextCursor` of a page';
    throw new IronflowError('invalid', 'cursor_invalid', rule, { field: 'cursor' });
  }
  const filters = [cursor, action, actor, outcome, from, to].map((value) => value ?? null);
  return [environmentId, ...filters, limit + 1];
}

const columns = `environment_id, sequence, occurred_at, actor_kind, actor_id, action, target_kind, target_id, address,
  request_id, outcome, code, count, details, previous_hash, hash`;

const listText = (beyond: string, order: string): string => `select ${columns} from audit_entries
  where environment_id = $1 and ($2::bigint is null or sequence ${beyond} $2)
    and ($3::text is null or action = $3) and ($4::text is null or actor_id = $4)
    and ($5::text is null or outcome = $5)
    and ($6::timestamptz is null or occurred_at >= $6) and ($7::timestamptz is null or occurred_at < $7)
  order by sequence ${order} limit $8`;
const newestStatement: Statement = { name: 'list_audit_newest', text: listText('<', 'desc') };
const oldestStatement: Statement = { name: 'list_audit_oldest', text: listText('>', 'asc') };

function listStatement(order: AuditQuery['order']): Statement {
  return order === 'newest' ? newestStatement : oldestStatement;
}

const headStatement: Statement = {
  name: 'audit_head',
  text: 'select sequence, hash from audit_heads where environment_id = $1',
};
const batchStatement: Statement = {
  name: 'audit_batch',
  text: `select ${columns} from audit_entries
    where environment_id = $1 and sequence > $2 and sequence <= $3 order by sequence limit $4`,
};
const appendStatement: Statement = {
  name: 'append_audit_entry',
  text: 'select append_audit_entry($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) as sequence',
};

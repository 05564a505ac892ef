/**
 * What could not be processed, kept: messages by the collector, the scheduler and, within its own environment, ingest; runs
 * that failed by the statement that ends them (see result-collector.ts). And what becomes of letters: they are read,
 * replayed or discarded by their environment, and removed once they are old.
 *
 * 1. A letter is stored once: its id is its maker's.
 * 2. The first replay sets when, for all that follow: what is made of a replay is derived from that, and made once.
 */
import { isUtf8 } from 'node:buffer';
import type {
  DeadLetter,
  DeadLetterDetail,
  DeadLettersPage,
  DeadLettersQuery,
  DeadLetterSummary,
  Failure,
} from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { cutPage, pageWindow } from './page.js';
import type { PageRow } from './page.js';

export async function storeDeadLetters(on: Queryable, letters: readonly DeadLetter[]): Promise<void> {
  if (letters.length === 0) return;
  const column = <T>(pick: (letter: DeadLetter) => T): T[] => letters.map(pick);
  await on.query(storeStatement, [
    column((letter) => letter.id),
    column((letter) => letter.environmentId ?? null),
    column((letter) => letter.subject),
    column((letter) => letter.reason),
    column((letter) => letter.detail),
    column((letter) => letter.payload),
    column((letter) => letter.occurredAtMs),
  ]);
}

const storeStatement: Statement = {
  name: 'store_dead_letters',
  text: `insert into dead_letters (id, environment_id, subject, reason, detail, payload, occurred_at)
    select id, environment_id, subject, reason, detail, decode(payload, 'base64'),
      to_timestamp(occurred_at_ms / 1000)
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[])
      as l (id, environment_id, subject, reason, detail, payload, occurred_at_ms)
    on conflict do nothing`,
};

/** Without payloads. */
export async function listDeadLetters(
  database: Database,
  environmentId: string,
  query: DeadLettersQuery,
): Promise<DeadLettersPage> {
  const { lowest, end } = pageWindow(query);
  const values = [environmentId, lowest, end, query.limit + 1];
  const rows = await database.inEnvironment(environmentId, (transaction) =>
    query.reason === undefined
      ? transaction.query<LetterRow & PageRow>(listStatement, values)
      : transaction.query<LetterRow & PageRow>(listByReasonStatement, [...values, query.reason]),
  );
  const page = cutPage(rows, query.limit);
  return {
    deadLetters: page.rows.map(toSummary),
    ...(page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor }),
  };
}

export async function getDeadLetter(
  database: Database,
  environmentId: string,
  letterId: string,
): Promise<DeadLetterDetail | undefined> {
  const [row] = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query<DetailRow>(detailStatement, [environmentId, letterId]),
  );
  if (row === undefined) return undefined;
  return {
    ...toSummary(row),
    ...(row.payload === null ? {} : readPayload(row.payload)),
    ...(row.error === null ? {} : { error: row.error }),
  };
}

/** Whether there was one. */
export async function discardDeadLetter(
  database: Database,
  environmentId: string,
  letterId: string,
): Promise<boolean> {
  const rows = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query(discardStatement, [environmentId, letterId]),
  );
  return rows.length > 0;
}

export interface DeadLetterToReplay {
  id: string;
  /** The run that failed; otherwise it is of a message. */
  runId?: string;
  message?: { subject: string; payload: Uint8Array };
  /** Set once it was replayed. */
  replayedAtMs?: number;
}

export async function deadLetterToReplay(
  database: Database,
  environmentId: string,
  letterId: string,
): Promise<DeadLetterToReplay | undefined> {
  const [row] = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query<DetailRow>(detailStatement, [environmentId, letterId]),
  );
  if (row === undefined) return undefined;
  const { id, run_id: runId, subject, payload, replayed_at: replayedAt } = row;
  return {
    id,
    ...(runId === null ? {} : { runId }),
    ...(subject === null || payload === null ? {} : { message: { subject, payload } }),
    ...(replayedAt === null ? {} : { replayedAtMs: replayedAt.getTime() }),
  };
}

/** When it was replayed first, which may be now; `undefined` when it is not there any more. */
export async function markReplayed(
  database: Database,
  environmentId: string,
  letterId: string,
): Promise<number | undefined> {
  const [row] = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query<{ replayed_at: Date }>(markStatement, [environmentId, letterId]),
  );
  return row?.replayed_at.getTime();
}

/** Answers how many. */
export async function removeExpiredLetters(database: Database, limit: number): Promise<number> {
  return (await database.query(expiredStatement, [limit])).length;
}

const facts = `d.id, d.reason, d.detail, d.subject, d.run_id, d.occurred_at, d.replayed_at`;
const withRun = `dead_letters d left join lateral (
    select function_id, error from runs where id = d.run_id and environment_id = d.environment_id offset 0
  ) r on true`;
const listText = (
  condition: string,
): string => `select ${facts}, r.function_id, false as beyond from ${withRun}
  where d.environment_id = $1 and d.id >= $2 and d.id < $3 ${condition} order by d.id desc limit $4`;
const listStatement: Statement = { name: 'list_dead_letters', text: listText('') };
const listByReasonStatement: Statement = {
  name: 'list_dead_letters_reason',
  text: listText('and d.reason = $5'),
};
const detailStatement: Statement = {
  name: 'dead_letter',
  text: `select ${facts}, r.function_id, d.payload, r.error from ${withRun} where d.environment_id = $1 and d.id = $2`,
};
const discardStatement: Statement = {
  name: 'discard_dead_letter',
  text: 'delete from dead_letters where environment_id = $1 and id = $2 returning 1',
};
const markStatement: Statement = {
  name: 'mark_replayed',
  text: `update dead_letters set replayed_at = coalesce(replayed_at, date_trunc('milliseconds', now()))
    where environment_id = $1 and id = $2 returning replayed_at`,
};
const expiredStatement: Statement = {
  name: 'remove_expired_letters',
  text: `delete from dead_letters where ctid = any(array(
      select ctid from dead_letters where occurred_at < now() - interval '30 days'
      order by occurred_at limit $1 for update skip locked))
    returning 1`,
};

interface LetterRow {
  id: string;
  reason: DeadLetterSummary['reason'];
  detail: string;
  subject: string | null;
  run_id: string | null;
  function_id: string | null;
  occurred_at: Date;
  replayed_at: Date | null;
}

interface DetailRow extends LetterRow {
  payload: Buffer | null;
  error: Failure | null;
}

function toSummary(row: LetterRow): DeadLetterSummary {
  return {
    id: row.id,
    reason: row.reason,
    detail: row.detail,
    ...(row.subject === null ? {} : { subject: row.subject }),
    ...(row.run_id === null ? {} : { runId: row.run_id }),
    ...(row.function_id === null ? {} : { functionId: row.function_id }),
    occurredAt: row.occurred_at.toISOString(),
    ...(row.replayed_at === null ? {} : { replayedAt: row.replayed_at.toISOString() }),
  };
}

function readPayload(payload: Buffer): Pick<DeadLetterDetail, 'payload' | 'payloadEncoding'> {
  return isUtf8(payload)
    ? { payload: payload.toString('utf8'), payloadEncoding: 'utf8' }
    : { payload: payload.toString('base64'), payloadEncoding: 'base64' };
}

/**
 * When the result of each step became durable, read from outside the platform: the times that nats-server gave the messages
 * of RESULTS, which its executors were answered right after; and where the stream was wiped, what Postgres had by then.
 */
import type { Database } from '@ironflow/database';
import type { Connection } from '@ironflow/jetstream';
import { journalMessageSchema } from '@ironflow/schema';
import { attemptKey, stepKey } from './ledger.js';
import type { StoredTimes } from './ledger.js';

export interface JournalTimesOptions {
  connection: Pick<Connection, 'request'>;
  database: Pick<Database, 'query'>;
  /** Of a run whose entries may have been wiped: a result that Postgres did not keep stood on what was lost, and does not count. */
  onlyKept: boolean | ((runId: string) => boolean);
}

interface GetBody {
  message?: { seq: number; time: string; data?: string };
  error?: { err_code?: number; description?: string };
}

interface StoredResult {
  key: string;
  runId: string;
  endedAtMs: number;
  storedAtMs: number;
}

const noMessageFound = 10037;

/** Of every message that RESULTS holds: it keeps them for an hour. */
export async function readJournalTimes(options: JournalTimesOptions): Promise<StoredTimes> {
  const { onlyKept } = options;
  const isOnlyKept = typeof onlyKept === 'boolean' ? () => onlyKept : onlyKept;
  const kept = onlyKept === false ? undefined : await readEndTimes(options.database);
  const times: StoredTimes = new Map();
  for (let seq = 1, next: Page | undefined; ; seq = next.seq + 1) {
    next = await readNext(options.connection, seq);
    if (next === undefined) return times;
    for (const { key, runId, endedAtMs, storedAtMs } of next.results) {
      if (kept !== undefined && isOnlyKept(runId) && kept.get(key) !== endedAtMs) continue;
      // In the stream's order, so the first is the earliest.
      if (!times.has(key)) times.set(key, storedAtMs);
    }
  }
}

/** The steps and attempts whose result Postgres has, all with the present time: none of them may begin from now on. */
export async function readAcceptedSteps(database: Pick<Database, 'query'>): Promise<StoredTimes> {
  const accepted = await readEndTimes(database);
  const nowMs = Date.now();
  return new Map([...accepted.keys()].map((key) => [key, nowMs]));
}

/** When the steps and failed attempts that Postgres has a result of ended, as their SDK said. */
async function readEndTimes(database: Pick<Database, 'query'>): Promise<Map<string, number>> {
  const rows = await database.query<Ended & { run: string; endedAtMs: number }>(
    {
      name: 'bench_end_times',
      text: `select run_id as run, name, attempt, status, (extract(epoch from ended_at) * 1000)::float8 as "endedAtMs"
             from steps where status <> 'waiting' and ended_at is not null`,
    },
    [],
  );
  return new Map(rows.map((row) => [keyOf(row.run, row), Math.round(row.endedAtMs)]));
}

type Ended = { name: string; attempt: number; status: string };

/** What must not begin again: a step that has its result, or an attempt that has failed and is followed by another. */
function keyOf(run: string, { name, attempt, status }: Ended): string {
  const isResult = status === 'completed' || status === 'failed';
  return isResult ? stepKey(run, name) : attemptKey(run, name, attempt);
}

interface Page {
  seq: number;
  results: StoredResult[];
}

/** The first message at or after a sequence. */
async function readNext(connection: Pick<Connection, 'request'>, seq: number): Promise<Page | undefined> {
  const reply = await connection.request({
    subject: '$JS.API.STREAM.MSG.GET.RESULTS',
    data: JSON.stringify({ seq, next_by_subj: '>' }),
  });
  if (reply.kind !== 'message') throw new Error(`RESULTS cannot be read: ${reply.kind}`);
  const { message, error } = JSON.parse(Buffer.from(reply.data).toString('utf8')) as GetBody;
  if (error?.err_code === noMessageFound) return undefined;
  if (message === undefined) throw new Error(`RESULTS cannot be read: ${error?.description ?? 'no message'}`);
  const text = Buffer.from(message.data ?? '', 'base64').toString('utf8');
  const { runId, entries } = journalMessageSchema.parse(JSON.parse(text));
  const storedAtMs = Date.parse(message.time);
  const results = entries.flatMap((entry) => {
    if (entry.type !== 'step' || !('endedAtMs' in entry.step)) return [];
    return [{ key: keyOf(runId, entry.step), runId, endedAtMs: entry.step.endedAtMs, storedAtMs }];
  });
  return { seq: message.seq, results };
}

/**
 * What loggers of runs wrote: stored by executors in batches, read by the api. A line that is stored again, because the answer to the first
 * time was lost, is stored once.
 */
import { IronflowError } from '@ironflow/errors';
import { isTerminal, levelsFrom, uuidSchema } from '@ironflow/schema';
import type { LogLevel, RunLogLine, RunLogsPage, RunLogsQuery, RunStatus } from '@ironflow/schema';
import { isRefusedData } from './database-error.js';
import type { Database, Queryable, Statement } from './database.js';
import { boundsOf, lowestId } from './id-windows.js';
import { cutPage, pageBytesMax } from './page.js';

export interface NewLogLine {
  environmentId: string;
  runId: string;
  /** Its place among the lines of its run. */
  id: string;
  atMs: number;
  level: LogLevel;
  message: string;
  /** JSON text. */
  fields?: string | undefined;
  step?: { id: string; attempt: number } | undefined;
}

/**
 * Of a run no more than `linesPerRunMax` are kept, and one that says so in the place of the next. Answers how many are new. What is refused for
 * what it is, such as no JSON, is found by halving, so that it costs its neighbours nothing.
 */
export async function storeLogLines(
  database: Database,
  lines: readonly NewLogLine[],
  linesPerRunMax: number,
): Promise<number> {
  if (lines.length === 0) return 0;
  try {
    const values = valuesOf(lines, linesPerRunMax);
    const [stored] = await database.query<{ count: number }>(storeStatement, values);
    return stored!.count;
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    if (lines.length === 1) return 0;
    const middle = lines.length >> 1;
    const count = await storeLogLines(database, lines.slice(0, middle), linesPerRunMax);
    return count + (await storeLogLines(database, lines.slice(middle), linesPerRunMax));
  }
}

function valuesOf(lines: readonly NewLogLine[], linesPerRunMax: number): unknown[] {
  const column = <T>(pick: (line: NewLogLine) => T): T[] => lines.map(pick);
  const runIds = column(({ runId }) => runId);
  const { lowest, highest } = boundsOf(runIds);
  return [
    runIds,
    column(({ id }) => id),
    column(({ environmentId }) => environmentId),
    column(({ atMs }) => atMs),
    column(({ level }) => level),
    // Postgres' text cannot hold NUL.
    column(({ message }) => message.replaceAll('\0', '\ufffd')),
    column(({ fields }) => fields ?? null),
    column(({ step }) => step?.id ?? null),
    column(({ step }) => step?.attempt ?? null),
    linesPerRunMax,
    `${linesPerRunMax} lines are kept of a run: no more of this one are`,
    lowest,
    highest,
  ];
}

// What is there already is counted for each batch, and no further than matters: an index scan of the run's own lines, which spares a row that
// every batch of the run would have to lock.
const storeStatement: Statement = {
  name: 'store_log_lines',
  text: `with given as materialized (
    select g.*, row_number() over (partition by run_id order by id) as place
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::float8[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[])
      as g (run_id, id, environment_id, at_ms, level, message, fields, step_id, attempt)
  ), counted as materialized (
    select r.run_id, (
      select count(*) from (
        select from run_logs l where l.run_id = r.run_id and l.run_id >= $12 and l.run_id <= $13 limit $10 + 1
      ) stored
    ) as before
    from (select distinct run_id from given) r
  ), stored as (
    insert into run_logs (run_id, id, environment_id, logged_at, level, message, fields, step_id, attempt)
    select run_id, id, environment_id, to_timestamp(at_ms / 1000),
      case when before + place <= $10 then level else 'warn' end,
      case when before + place <= $10 then message else $11 end,
      case when before + place <= $10 then fields::json end,
      case when before + place <= $10 then step_id end,
      case when before + place <= $10 then attempt end
    from given join counted using (run_id)
    where before + place <= $10 + 1
    order by run_id, id
    on conflict do nothing
    returning 1
  ) select count(*)::int as count from stored`,
};

/** One page, the oldest lines first; `undefined` if there is no such run. Throws `cursor_invalid`. */
export async function readLogLines(
  transaction: Queryable,
  { environmentId, runId }: { environmentId: string; runId: string },
  { limit, cursor = lowestId, level = 'debug', step }: RunLogsQuery,
): Promise<RunLogsPage | undefined> {
  if (!uuidSchema.safeParse(cursor).success) {
    const message = 'the cursor must be the `nextCursor` of a page, or the id of a line';
    throw new IronflowError('invalid', 'cursor_invalid', message, { field: 'cursor' });
  }
  // Before the lines, so that whoever follows a run reads on behind its end once more than needed, and never once less.
  const [run] = await transaction.query<{ status: RunStatus }>(statusStatement, [environmentId, runId]);
  if (run === undefined) return undefined;
  const values = [environmentId, runId, cursor, levelsFrom(level), limit + 1, pageBytesMax];
  const rows =
    step === undefined
      ? await transaction.query<LogLineRow>(linesStatement, values)
      : await transaction.query<LogLineRow>(linesOfStepStatement, [...values, step]);
  const page = cutPage(rows, limit);
  return {
    lines: page.rows.map(toLogLine),
    ...(page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor }),
    ended: isTerminal(run.status),
  };
}

const statusStatement: Statement = {
  name: 'status_of_run',
  text: 'select status from runs where environment_id = $1 and id = $2',
};
const linesText = (condition: string): string => `select id, logged_at, level,
    case when beyond then '' else message end as message, case when not beyond then fields::text end as fields,
    step_id, attempt, beyond
  from (
    select *, coalesce(sum(octet_length(message) + coalesce(octet_length(fields::text), 0)) over (
      order by id rows between unbounded preceding and 1 preceding), 0) > $6 as beyond
    from (
      select * from run_logs
      where environment_id = $1 and run_id = $2 and id > $3 and level = any($4::text[]) ${condition}
      order by id limit $5
    ) page
  ) measured order by id`;
const linesStatement: Statement = { name: 'list_log_lines', text: linesText('') };
const linesOfStepStatement: Statement = {
  name: 'list_log_lines_of_step',
  text: linesText('and step_id = $7'),
};

export async function countLogLines(
  transaction: Queryable,
  environmentId: string,
  runId: string,
): Promise<number> {
  const [row] = await transaction.query<{ count: number }>(countStatement, [environmentId, runId]);
  return row!.count;
}

const countStatement: Statement = {
  name: 'count_log_lines',
  text: 'select count(*)::int as count from run_logs where environment_id = $1 and run_id = $2',
};

interface LogLineRow {
  id: string;
  logged_at: Date;
  level: LogLevel;
  message: string;
  fields: string | null;
  step_id: string | null;
  attempt: number | null;
  beyond: boolean;
}

function toLogLine(row: LogLineRow): RunLogLine {
  return {
    id: row.id,
    at: row.logged_at.toISOString(),
    level: row.level,
    message: row.message,
    ...(row.fields === null ? {} : { fields: JSON.parse(row.fields) as unknown }),
    ...(row.step_id === null ? {} : { step: { id: row.step_id, attempt: row.attempt! } }),
  };
}

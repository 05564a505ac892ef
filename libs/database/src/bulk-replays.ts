/**
 * Dead letters that a filter finds, in pages, to be replayed. The newest first, without what is in them: each is read when
 * its turn comes.
 *
 * 1. A letter that was replayed is found no more, unless its replay was cut off between the mark and the event: then it is
 *    found again for a while, so that whoever asked and had no answer can ask for the rest.
 */
import type { DeadLetterSummary } from '@ironflow/schema';
import { briefly } from './bulk-reruns.js';
import type { Page } from './bulk-reruns.js';
import type { Database, Statement } from './database.js';
import { cutPage, pageWindow } from './page.js';
import type { PageQuery, PageRow } from './page.js';

export interface LettersToReplayQuery extends PageQuery {
  reason?: DeadLetterSummary['reason'] | undefined;
  /** Of the runs that failed: other letters have none. */
  functionId?: string | undefined;
}

export type FoundLetter = Pick<DeadLetterSummary, 'id'>;

export async function lettersToReplay(
  database: Database,
  environmentId: string,
  query: LettersToReplayQuery,
): Promise<Page<FoundLetter>> {
  const { lowest, end } = pageWindow(query);
  const { text, filters } = found(query);
  const statement: Statement = { name: '', text: `select id, false as beyond from (${text}) found` };
  const rows = await briefly(database, environmentId, (transaction) =>
    transaction.query<PageRow>(statement, [environmentId, lowest, end, query.limit + 1, ...filters]),
  );
  const page = cutPage(rows, query.limit);
  return {
    items: page.rows.map(({ id }) => ({ id })),
    ...(page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor }),
  };
}

/** Up to `query.limit`. */
export async function countLettersToReplay(
  database: Database,
  environmentId: string,
  query: LettersToReplayQuery,
): Promise<number> {
  const { lowest, end } = pageWindow(query);
  const { text, filters } = found(query);
  const statement: Statement = { name: '', text: `select count(*)::int as count from (${text}) found` };
  const [row] = await briefly(database, environmentId, (transaction) =>
    transaction.query<{ count: number }>(statement, [environmentId, lowest, end, query.limit, ...filters]),
  );
  return row!.count;
}

/** Its parts are asked for seldom, and each combination of them has a plan of its own. */
function found({ reason, functionId }: LettersToReplayQuery): { text: string; filters: string[] } {
  const filters: string[] = [];
  const next = (value: string): string => `$${4 + filters.push(value)}`;
  const ofReason = reason === undefined ? '' : `and d.reason = ${next(reason)}`;
  const ofFunction =
    functionId === undefined
      ? ''
      : `and exists (select from runs r where r.id = d.run_id and r.environment_id = $1
          and r.function_id = ${next(functionId)})`;
  const text = `select d.id from dead_letters d
    where d.environment_id = $1 and d.id >= $2 and d.id < $3 ${ofReason} ${ofFunction}
      and (d.replayed_at is null or ${cutOff})
    order by d.id desc limit $4`;
  return { text, filters };
}

/** The id of the event that repeats a run has the time of the letter's mark (`deriveReplayEventId`). */
const cutOff = `d.run_id is not null
    and d.replayed_at > now() - interval '10 minutes'
    and not exists (select from events e where e.id >= lowest_id_at(d.replayed_at)
      and e.id < lowest_id_at(d.replayed_at + interval '1 millisecond')
      and e.environment_id = $1 and e.rerun_of = d.run_id)`;

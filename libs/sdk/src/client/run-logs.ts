/** What the logger of a run wrote: page by page, or as it comes. */
import { setTimeout as delay } from 'node:timers/promises';
import type { RunLogLine, RunLogsPage, RunLogsQuery } from '@ironflow/schema';
import type { Http } from './http.js';

export interface FollowLogsOptions extends Partial<Pick<RunLogsQuery, 'level' | 'step'>> {
  signal?: AbortSignal;
}

/** Between two looks. Lines come in batches, twice a second at the earliest. */
const lookEveryMs = 1_000;
const pageLines = 1_000;

export function listRunLogs(
  http: Http,
  runId: string,
  query: Partial<RunLogsQuery> & { signal?: AbortSignal | undefined } = {},
): Promise<RunLogsPage> {
  const { signal, ...rest } = query;
  return http.json({
    method: 'GET',
    path: `/v1/runs/${encodeURIComponent(runId)}/logs`,
    query: rest,
    signal,
  });
}

export async function* followRunLogs(
  http: Http,
  runId: string,
  { level, step, signal }: FollowLogsOptions = {},
): AsyncIterableIterator<RunLogLine> {
  const filter = { level, step, signal, limit: pageLines };
  let cursor: string | undefined;
  for (let hasEnded = false; ;) {
    const page = await listRunLogs(http, runId, { ...filter, cursor });
    yield* page.lines;
    cursor = page.lines.at(-1)?.id ?? cursor;
    if (page.nextCursor !== undefined) continue;
    // Once more behind its end: what was on its way then is there by now.
    if (hasEnded) return;
    hasEnded = page.ended;
    await delay(lookEveryMs, undefined, signal === undefined ? {} : { signal });
  }
}

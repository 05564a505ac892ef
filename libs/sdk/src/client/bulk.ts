/** Requests that work through everything a filter finds, page by page, as fast as the platform's rate lets them. */
import type {
  BulkAnswer,
  CancelRunsAnswer,
  CancelRunsBody,
  ReplayEventsBody,
  ReplayLettersBody,
  RerunRunsBody,
} from '@ironflow/schema';
import { IronflowApiError } from './api-error.js';
import type { Http } from './http.js';

export type RerunFilter = Pick<RerunRunsBody, 'status' | 'function' | 'from' | 'to'>;
export type CancelFilter = Pick<CancelRunsBody, 'status' | 'function' | 'correlation' | 'from' | 'to'>;
export type ReplayFilter = Pick<ReplayEventsBody, 'event' | 'from' | 'to'>;
export type DeadLetterFilter = Pick<ReplayLettersBody, 'reason' | 'function' | 'from' | 'to'>;

export interface BulkOptions {
  /** Only count; up to 100,000. */
  dryRun?: boolean;
  /** The same key within 24 hours starts nothing a second time, so that what was cut off can be finished. Default: a fresh one. */
  idempotencyKey?: string;
  signal?: AbortSignal;
}

export interface BulkResult {
  /** Of runs that were started or letters that were replayed, or would be. */
  count: number;
  /** Runs whose function is not registered any more, or whose event is not kept any more; letters that cannot be replayed. */
  skipped: number;
}

export interface BulkRequest extends BulkOptions {
  http: Http;
  path: string;
  filter: RerunFilter | ReplayFilter | DeadLetterFilter;
}

export async function inPages(request: BulkRequest): Promise<BulkResult> {
  const { http, path, signal, dryRun = false, idempotencyKey } = request;
  const filter = untilNow(request.filter);
  const result: BulkResult = { count: 0, skipped: 0 };
  let cursor: string | undefined;
  do {
    const body = JSON.stringify({ ...filter, dryRun, idempotencyKey, cursor });
    const page = await patiently(() => http.json<BulkAnswer>({ method: 'POST', path, body, signal }));
    result.count += page.count;
    result.skipped += page.skipped ?? 0;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return result;
}

/** What comes while the pages are worked through is not meant, least of all what they start themselves. */
function untilNow<Filter extends { to?: string | undefined }>(filter: Filter): Filter {
  return { ...filter, to: filter.to ?? new Date().toISOString() };
}

/** The rate is the environment's: somebody else may be working through pages of theirs. Each try waits as it is told to. */
export async function patiently<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof IronflowApiError) || error.code !== 'bulk_rate_exceeded') throw error;
    }
  }
}

/** What was asked to stop is found no more: the same request goes on where the one before ended. */
export async function cancelInPages(
  http: Http,
  filter: CancelFilter,
  { dryRun = false, signal }: { dryRun?: boolean; signal?: AbortSignal } = {},
): Promise<{ count: number }> {
  // Without any filter it is for the platform to refuse.
  const isGiven = Object.values(filter).some((value) => value !== undefined);
  const body = JSON.stringify({ ...(isGiven ? untilNow(filter) : {}), dryRun });
  for (let count = 0; ;) {
    const page = await http.json<CancelRunsAnswer>({ method: 'POST', path: '/v1/runs/cancel', body, signal });
    count += page.count;
    if (page.isComplete || page.count === 0) return { count };
  }
}

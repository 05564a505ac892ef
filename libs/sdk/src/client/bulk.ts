/** Requests that work through everything a filter finds, page by page, as fast as the platform's rate lets them. */
import { randomUUID } from 'node:crypto';
import type { BulkAnswer, ReplayEventsBody, RerunRunsBody } from '@ironflow/schema';
import type { Http } from './http.js';

export type RerunFilter = Pick<RerunRunsBody, 'status' | 'function' | 'from' | 'to'>;
export type ReplayFilter = Pick<ReplayEventsBody, 'event' | 'from' | 'to'>;

export interface BulkOptions {
  /** Only count; up to 100,000. */
  dryRun?: boolean;
  /** The same key within 24 hours starts nothing a second time, so that what was cut off can be finished. Default: a fresh one. */
  idempotencyKey?: string;
  signal?: AbortSignal;
}

export interface BulkResult {
  /** Of runs that were started, or would be. */
  count: number;
  /** Runs whose function is not registered any more, or whose event is not kept any more. */
  skipped: number;
}

export interface BulkRequest extends BulkOptions {
  http: Http;
  path: string;
  filter: RerunFilter | ReplayFilter;
}

export async function inPages(request: BulkRequest): Promise<BulkResult> {
  const { http, path, filter, signal, dryRun = false, idempotencyKey = randomUUID() } = request;
  const result: BulkResult = { count: 0, skipped: 0 };
  let cursor: string | undefined;
  do {
    const body = JSON.stringify({ ...filter, dryRun, idempotencyKey, cursor });
    const page = await http.json<BulkAnswer>({ method: 'POST', path, body, signal });
    result.count += page.count;
    result.skipped += page.skipped ?? 0;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return result;
}

/**
 * Keyset pages over time-ordered ids, the newest first: a page stays where it is while new rows come. Pure.
 */
import { IronflowError } from '@ironflow/errors';
import { lowestIdAt, uuidSchema } from '@ironflow/schema';
import { highestId, lowestId } from './id-windows.js';
import type { IdWindow } from './id-windows.js';

export interface PageQuery {
  limit: number;
  cursor?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

export function pageWindow(query: PageQuery): IdWindow {
  const lowest = query.from === undefined ? lowestId : lowestIdAt(Date.parse(query.from));
  const timeEnd = query.to === undefined ? highestId : lowestIdAt(Date.parse(query.to));
  if (query.cursor === undefined) return { lowest, end: timeEnd };
  if (!uuidSchema.safeParse(query.cursor).success) {
    throw new IronflowError('invalid', 'cursor_invalid', 'the cursor must be the `nextCursor` of a page', {
      field: 'cursor',
    });
  }
  return { lowest, end: query.cursor < timeEnd ? query.cursor : timeEnd };
}

/** Of payloads in one page, but for the last of its rows: a page of the largest would be 100 MiB. */
export const pageBytesMax = 4 * 1024 * 1024;

export interface PageRow {
  id: string;
  /** The rows before it are `pageBytesMax` already: it belongs to the next page, and comes without payload. */
  beyond: boolean;
}

/** `rows` are one more than the page takes, if there are more. */
export function cutPage<Row extends PageRow>(
  rows: readonly Row[],
  limit: number,
): { rows: readonly Row[]; nextCursor?: string } {
  const beyond = rows.findIndex((row) => row.beyond);
  const end = Math.min(limit, beyond === -1 ? rows.length : beyond);
  if (rows.length <= end) return { rows };
  const page = rows.slice(0, end);
  return { rows: page, nextCursor: page.at(-1)!.id };
}
